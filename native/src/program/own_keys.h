// The keys of the blocks that a step writes, as they were projected, in bf16: for keys that are kept with scales per
// channel (i4_channel). A query sees its own block from here and earlier ones as they are kept, so what it sees depends
// on its position alone. Layers share the room: each fills it anew.

#pragma once

#include <cstdint>
#include <vector>

#include "program/step.h"

namespace windowtax {

class OwnKeys {
 public:
  void fit(const Step& step, int64_t block_bytes) {
    block_bytes_ = block_bytes;
    int64_t blocks = 0;
    for (const SequenceStep& sequence : step.sequences) blocks += sequence.own_blocks();
    if (static_cast<int64_t>(data_.size()) < blocks * block_bytes) data_.resize(blocks * block_bytes);
  }

  // Block `index` of a sequence, which the step writes; its other blocks of the step lie behind it.
  uint8_t* block(const SequenceStep& sequence, int64_t index) {
    return data_.data() + (sequence.first_own + index - sequence.start / kBlockTokens) * block_bytes_;
  }

 private:
  std::vector<uint8_t> data_;
  int64_t block_bytes_ = 0;
};

}  // namespace windowtax
