// The last product of a step, which gives logits.

#pragma once

#include <utility>

#include "program/linear.h"

namespace windowtax {

// A product that is capped, cap * tanh(x / cap), where cap is not 0. Where a step chooses (see Context), the largest
// number of each row is looked for while its columns are in the cache, and few rows are not even stored.
class Head : public Linear {
 public:
  Head(Ready& ready, const Matrix& matrix, std::vector<float> bias, float cap, Buffer& out)
      : Linear(ready, matrix, std::move(bias), Ending::store, out, 0), cap_(cap) {}
  int64_t prepare(const Context& context) override;

  // After a step that chooses: the column of each row's largest number, of equals the first; -1 where one is NaN.
  std::vector<int64_t> chosen(const Step& step) const;

 protected:
  void end(const Context& context, int64_t row, int64_t first, int64_t count, float* product, Worker& worker) override;
  void ended(const Context& context, const Ready::Rows& rows, int64_t first, int64_t count, Worker& worker) override;

 private:
  struct Largest {
    float value;
    int64_t column;
    // Of two equals the one before; NaN before all numbers.
    bool before(const Largest& other) const {
      if (value != value || other.value != other.value) return value != value;
      return value > other.value || (value == other.value && column < other.column);
    }
  };
  void look(const Context& context, int64_t row, int64_t first, int64_t count, const float* x, Worker& worker);

  float cap_;
  std::vector<std::vector<Largest>> largest_;  // by thread, then by row
};

}  // namespace windowtax
