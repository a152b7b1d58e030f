// Sizes that do not depend on the level.

#include "kernels.h"

namespace windowtax {

int64_t element_bytes(Element element, int64_t dim) {
  switch (element) {
    case Element::f32:
      return 4 * kBlockTokens * dim;
    case Element::f16:
    case Element::bf16:
      return 2 * kBlockTokens * dim;
    case Element::f8:
    case Element::i8:
      return kBlockTokens * dim;
    case Element::i4:
    case Element::i4_channel:
      return kBlockTokens * dim / 2;
  }
  return 0;
}

int64_t scale_bytes(Element element, int64_t dim) {
  switch (element) {
    case Element::i8:
    case Element::i4:
      return 4 * kBlockTokens;
    case Element::i4_channel:
      return 2 * 2 * dim;
    default:
      return 0;
  }
}

KvView KvView::heads(int64_t first, int64_t count) const {
  KvView some = *this;
  some.kv_heads = count;
  some.k.base += first * element_bytes(k_element, k_dim);
  some.v.base += first * element_bytes(v_element, v_dim);
  if (some.k_scale.base) some.k_scale.base += first * scale_bytes(k_element, k_dim);
  if (some.v_scale.base) some.v_scale.base += first * scale_bytes(v_element, v_dim);
  return some;
}

}  // namespace windowtax
