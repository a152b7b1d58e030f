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

}  // namespace windowtax
