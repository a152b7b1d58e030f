// What one step computes: the tokens, and for each sequence where its keys and values lie.

#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"

namespace windowtax {

// The blocks that a sequence holds in one layer group: ids[i] is the pool block with block index first + i.
struct Table {
  std::vector<int32_t> ids;
  int64_t first = 0;
};

// One sequence's tokens: rows first_row ... first_row + rows - 1 of the step, at positions start ...
struct SequenceStep {
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t start = 0;
  int64_t first_own = 0;          // how many blocks the sequences before this one write in the step
  std::vector<Table> tables;      // per layer group
  std::vector<int32_t> rotation;  // per RoPE of the program: which of its frequency tables this sequence uses

  // Blocks that the step writes, the first and the last perhaps in part.
  int64_t own_blocks() const {
    return rows == 0 ? 0 : (start + rows - 1) / kBlockTokens - start / kBlockTokens + 1;
  }
};

struct Step {
  std::vector<int64_t> token_ids;
  std::vector<SequenceStep> sequences;
  std::vector<int64_t> sampled;  // rows whose logits are wanted

  int64_t rows() const { return static_cast<int64_t>(token_ids.size()); }
};

}  // namespace windowtax
