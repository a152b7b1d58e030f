// The level's table of kernels. Each source adds its own with one function declared in parts.h.

#include "kernels/parts.h"

#define WINDOWTAX_JOIN2(a, b) a##b
#define WINDOWTAX_JOIN(a, b) WINDOWTAX_JOIN2(a, b)
#define WINDOWTAX_TEXT2(a) #a
#define WINDOWTAX_TEXT(a) WINDOWTAX_TEXT2(a)

namespace windowtax {

static Kernels make_table() {
  Kernels table = {};
  table.level = WINDOWTAX_TEXT(WINDOWTAX_LEVEL);
  WINDOWTAX_LEVEL::add_weights(table);
  WINDOWTAX_LEVEL::add_blocks(table);
  WINDOWTAX_LEVEL::add_elementwise(table);
  WINDOWTAX_LEVEL::add_codecs(table);
  WINDOWTAX_LEVEL::add_decode(table);
  WINDOWTAX_LEVEL::add_top_blocks(table);
  WINDOWTAX_LEVEL::add_prefill(table);
  WINDOWTAX_LEVEL::add_gauge(table);
  return table;
}

const Kernels* WINDOWTAX_JOIN(WINDOWTAX_LEVEL, _kernels)() {
  static const Kernels table = make_table();
  return &table;
}

}  // namespace windowtax
