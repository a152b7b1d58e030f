#include "stored.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "gguf.h"

namespace windowtax {

namespace {

constexpr int64_t kNumbersAtOnce = 1 << 21;  // of a piece: threads write to large pages of their own, mostly
constexpr int64_t kMostSpread = 4;           // rows of a panel are read at once if the file has them this close

int64_t row_bytes(BlockType type, int64_t columns) {
  const GgufType& known = gguf_type(type);
  return columns / known.numbers * known.bytes;
}

}  // namespace

// One thread's: the rows of a panel as the file has them, as codes, and as floats.
class StoredReader::Worker {
 public:
  Worker(int file, const Kernels& kernels) : file_(file), kernels_(kernels) {}

  // False where the file ended.
  bool pack(const StoredMatrix& stored, int64_t panel) {
    const int64_t first = panel * kPanelRows, rows = std::min(kPanelRows, stored.matrix.rows - first);
    const Panel now{stored.matrix.format, rows, stored.matrix.columns, stored.places + first, stored.types + first};
    if (!fetch(now)) return false;
    uint8_t* out = const_cast<uint8_t*>(stored.matrix.data) + panel * stored.matrix.units() * unit_bytes(now.format);
    as_they_are(now) ? pack_codes(now, out) : pack_floats(now, out);
    return true;
  }

 private:
  struct Panel {
    WeightFormat format;
    int64_t rows, columns;
    const int64_t* places;
    const BlockType* types;
  };

  static bool as_they_are(const Panel& panel) {
    return std::all_of(panel.types, panel.types + panel.rows,
                       [&](BlockType type) { return gguf_type(type).format == panel.format; });
  }

  bool fetch(const Panel& panel) {
    int64_t begin = INT64_MAX, end = 0, needed = 0;
    for (int64_t row = 0; row < panel.rows; ++row) {
      if (panel.places[row] < 0) continue;
      const int64_t size = row_bytes(panel.types[row], panel.columns);
      begin = std::min(begin, panel.places[row]);
      end = std::max(end, panel.places[row] + size);
      needed += size;
    }
    rows_.assign(static_cast<size_t>(panel.rows), nullptr);
    if (needed == 0) return true;
    if (end - begin > kMostSpread * needed) return fetch_apart(panel, needed);
    bytes_.resize(static_cast<size_t>(end - begin));
    for (int64_t row = 0; row < panel.rows; ++row)
      if (panel.places[row] >= 0) rows_[row] = bytes_.data() + (panel.places[row] - begin);
    return read(begin, end - begin, bytes_.data());
  }

  bool fetch_apart(const Panel& panel, int64_t needed) {
    bytes_.resize(static_cast<size_t>(needed));
    uint8_t* at = bytes_.data();
    for (int64_t row = 0; row < panel.rows; ++row) {
      if (panel.places[row] < 0) continue;
      const int64_t size = row_bytes(panel.types[row], panel.columns);
      if (!read(panel.places[row], size, at)) return false;
      rows_[row] = at;
      at += size;
    }
    return true;
  }

  bool read(int64_t place, int64_t size, uint8_t* out) const {
    while (size > 0) {
      const ssize_t count = pread(file_, out, static_cast<size_t>(size), place);
      if (count <= 0) return false;
      place += count, out += count, size -= count;
    }
    return true;
  }

  void pack_codes(const Panel& panel, uint8_t* out) {
    make_room(panel, panel.rows);
    for (int64_t row = 0; row < panel.rows; ++row) unpack(panel, row, row);
    kernels_.pack_codes(panel.format, codes_.data(), scale_.data(), has_least(panel.format) ? least_.data() : nullptr,
                        panel.rows, panel.columns, out);
  }

  void pack_floats(const Panel& panel, uint8_t* out) {
    make_room(panel, 1);
    floats_.resize(static_cast<size_t>(panel.rows * panel.columns));
    for (int64_t row = 0; row < panel.rows; ++row) {
      unpack(panel, row, 0);
      const bool leasts = has_least(gguf_type(panel.types[row]).format);
      float* values = floats_.data() + row * panel.columns;
      for (int64_t group = 0; group < panel.columns / kGroup; ++group)
        for (int64_t i = group * kGroup; i < (group + 1) * kGroup; ++i)
          values[i] = scale_[group] * static_cast<float>(codes_[i]) + (leasts ? least_[group] : 0.0f);
    }
    kernels_.pack(panel.format, floats_.data(), panel.rows, panel.columns, out);
  }

  void make_room(const Panel& panel, int64_t rows) {
    const int64_t numbers = rows * panel.columns;
    codes_.resize(static_cast<size_t>(numbers));
    scale_.resize(static_cast<size_t>(numbers / kGroup));
    least_.resize(static_cast<size_t>(numbers / kGroup));
  }

  // A row of the panel into that place of codes_, scale_ and least_.
  void unpack(const Panel& panel, int64_t row, int64_t place) {
    const int64_t groups = panel.columns / kGroup;
    int8_t* codes = codes_.data() + place * panel.columns;
    float *scale = scale_.data() + place * groups, *least = least_.data() + place * groups;
    if (rows_[row] == nullptr) {
      std::fill_n(codes, panel.columns, int8_t{0});
      std::fill_n(scale, groups, 0.0f);
      std::fill_n(least, groups, 0.0f);
    } else {
      kernels_.read_blocks(panel.types[row], rows_[row], panel.columns / gguf_type(panel.types[row]).numbers, codes,
                           scale, least);
    }
  }

  const int file_;
  const Kernels& kernels_;
  std::vector<uint8_t> bytes_;
  std::vector<const uint8_t*> rows_;
  std::vector<int8_t> codes_;
  std::vector<float> scale_, least_, floats_;
};

StoredReader::StoredReader(const std::string& path, std::vector<StoredMatrix> matrices, int threads,
                           const Kernels& kernels)
    : kernels_(kernels), matrices_(std::move(matrices)), file_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (file_ < 0) throw std::runtime_error(path + " cannot be opened");
  for (const StoredMatrix& stored : matrices_) {
    const int64_t step = std::max<int64_t>(1, kNumbersAtOnce / stored.matrix.columns / kPanelRows);
    for (int64_t first = 0; first < stored.matrix.panels(); first += step)
      pieces_.push_back({&stored, first, std::min(first + step, stored.matrix.panels())});
  }
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

void StoredReader::work() {
  Worker worker(file_, kernels_);
  for (size_t i = next_++; i < pieces_.size() && !cut_off_; i = next_++) {
    const Piece& piece = pieces_[i];
    for (int64_t panel = piece.first; panel < piece.last; ++panel)
      if (!worker.pack(*piece.stored, panel)) cut_off_ = true;
  }
  idle_.fetch_add(1, std::memory_order_release);
}

void StoredReader::stop() {
  next_ = pieces_.size();
  for (std::thread& thread : threads_)
    if (thread.joinable()) thread.join();
  if (file_ >= 0) close(file_);
  file_ = -1;
}

void StoredReader::finish() {
  for (std::thread& thread : threads_) thread.join();
  if (cut_off_) throw std::runtime_error("the file ends in the middle of a tensor");
}

}  // namespace windowtax
