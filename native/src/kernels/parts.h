// The parts of a level's table: one function per source, which fills in that source's entries.

#pragma once

#include "kernels/level.h"

WINDOWTAX_BEGIN_LEVEL
void add_weights(Kernels& table);      // weights*.cpp: pack ... multiply
void add_blocks(Kernels& table);       // blocks.cpp: read_blocks
void add_elementwise(Kernels& table);  // elementwise.cpp
void add_codecs(Kernels& table);       // codecs.cpp: append, read_keys, read_values, summarise
void add_decode(Kernels& table);       // decode.cpp: decode_scratch, attend_run
void add_top_blocks(Kernels& table);   // top_blocks.cpp: score_scratch, score_blocks, select_top
void add_prefill(Kernels& table);      // prefill.cpp: tile_tokens, tile_scratch, attend_tile
void add_gauge(Kernels& table);        // gauge.cpp: gauge_multiply, gauge_read
WINDOWTAX_END_LEVEL
