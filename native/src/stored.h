// Packed matrices straight from a file of quantised GGUF blocks. Threads read, unpack and pack a panel at a time, so what
// is made on the way stays in their caches.

#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "kernels.h"

namespace windowtax {

struct StoredMatrix {
  Matrix matrix;           // data: where it goes, of whole panels
  const int64_t* places;   // [rows]: where in the file a row begins; negative for a row of zeros
  const BlockType* types;  // [rows]: what it is made of
};

// Reads from its construction on. Rows whose blocks' codes belong into the matrix's format keep them as they are; others
// are dequantised and packed as floats.
class StoredReader {
 public:
  // Throws std::runtime_error where the file cannot be opened.
  StoredReader(const std::string& path, std::vector<StoredMatrix> matrices, int threads, const Kernels& kernels);
  ~StoredReader() { stop(); }
  StoredReader(const StoredReader&) = delete;
  StoredReader& operator=(const StoredReader&) = delete;

  bool done() const { return idle_.load(std::memory_order_acquire) == static_cast<int>(threads_.size()); }
  // Throws std::runtime_error where the file ended in the middle of a row.
  void finish();
  // Leaves what is not read yet.
  void stop();

 private:
  struct Piece {
    const StoredMatrix* stored;
    int64_t first, last;  // panels
  };
  class Worker;

  void work();

  const Kernels& kernels_;
  const std::vector<StoredMatrix> matrices_;
  std::vector<Piece> pieces_;
  int file_;
  std::atomic<size_t> next_{0};
  std::atomic<int> idle_{0};
  std::atomic<bool> cut_off_{false};
  std::vector<std::thread> threads_;
};

}  // namespace windowtax
