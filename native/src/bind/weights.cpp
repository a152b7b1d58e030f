// Packing and unpacking of weights. Arrays are numpy's; the caller slices them so that threads can share the work.

#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>

#include "bind/bind.h"
#include "gguf.h"
#include "levels.h"
#include "stored.h"

namespace nb = nanobind;

namespace windowtax {

namespace {

using Floats = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Codes = nb::ndarray<const int8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using ConstBytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

const Kernels& best() { return *kernels_of(""); }

int64_t packed_bytes(int format, int64_t rows, int64_t columns) {
  const Matrix matrix{static_cast<WeightFormat>(format), rows, columns, nullptr};
  return matrix.panels() * matrix.units() * unit_bytes(matrix.format);
}

void need(bool held, const char* what) {
  if (!held) throw std::invalid_argument(what);
}

void pack(int format, Floats values, Bytes out) {
  const int64_t rows = values.shape(0), columns = values.shape(1);
  need(static_cast<int64_t>(out.size()) == packed_bytes(format, rows, columns), "out has the wrong size");
  nb::gil_scoped_release release;
  best().pack(static_cast<WeightFormat>(format), values.data(), rows, columns, out.data());
}

void pack_codes(int format, Codes codes, Floats scale, nb::object least, Bytes out) {
  const int64_t rows = codes.shape(0), columns = codes.shape(1);
  need(columns % kGroup == 0, "codes come in groups of 32 columns");
  need(static_cast<int64_t>(scale.shape(0)) == rows && static_cast<int64_t>(scale.shape(1)) == columns / kGroup,
       "scale should be [rows, columns / 32]");
  need(static_cast<int64_t>(out.size()) == packed_bytes(format, rows, columns), "out has the wrong size");
  const float* leasts = nullptr;
  Floats held;
  if (!least.is_none()) {
    held = nb::cast<Floats>(least);
    need(held.size() == scale.size(), "least should be as large as scale");
    leasts = held.data();
  }
  need(has_least(static_cast<WeightFormat>(format)) == (leasts != nullptr), "q4 and q5_least have leasts, q8 and q5 none");
  nb::gil_scoped_release release;
  best().pack_codes(static_cast<WeightFormat>(format), codes.data(), scale.data(), leasts, rows, columns, out.data());
}

void unpack(int format, ConstBytes packed, nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu> out) {
  const int64_t rows = out.shape(0), columns = out.shape(1);
  need(static_cast<int64_t>(packed.size()) == packed_bytes(format, rows, columns), "packed has the wrong size");
  const Matrix matrix{static_cast<WeightFormat>(format), rows, columns, packed.data()};
  for (int64_t row = 0; row < rows; ++row) best().unpack_row(matrix, row, out.data() + row * columns);
}

using Places = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Types = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
// format, columns, places, types, out
using Stored = std::tuple<int, int64_t, Places, Types, Bytes>;

StoredMatrix stored_matrix(const Stored& given) {
  const auto& [format, columns, places, types, out] = given;
  const int64_t rows = static_cast<int64_t>(places.size());
  need(static_cast<int64_t>(types.size()) == rows, "every row has a place and a type");
  need(static_cast<int64_t>(out.size()) == packed_bytes(format, rows, columns), "out has the wrong size");
  for (int64_t row = 0; row < rows; ++row) {
    need(types.data()[row] < kNumGgufTypes, "blocks of this type are not read");
    need(columns % kGgufTypes[types.data()[row]].numbers == 0, "rows should be whole blocks");
  }
  return {{static_cast<WeightFormat>(format), rows, columns, out.data()},
          places.data(),
          reinterpret_cast<const BlockType*>(types.data())};
}

// A reader and what it reads into, which must not go before it.
class HeldReader {
 public:
  HeldReader(const std::string& path, std::vector<Stored> given, int threads)
      : given_(std::move(given)), reader_(path, matrices(given_), threads, best()) {}

  // Signals are looked at in between, so that a long load can be interrupted.
  void wait() {
    while (!reader_.done()) {
      {
        nb::gil_scoped_release release;
        for (int i = 0; i < 50 && !reader_.done(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      if (PyErr_CheckSignals() != 0) throw nb::python_error();
    }
    reader_.finish();
  }

  void stop() {
    nb::gil_scoped_release release;
    reader_.stop();
  }

 private:
  static std::vector<StoredMatrix> matrices(const std::vector<Stored>& given) {
    std::vector<StoredMatrix> found;
    for (const Stored& one : given) found.push_back(stored_matrix(one));
    return found;
  }

  std::vector<Stored> given_;
  StoredReader reader_;
};

std::vector<std::pair<std::string, int>> gguf_types() {
  std::vector<std::pair<std::string, int>> found;
  for (const GgufType& type : kGgufTypes) found.emplace_back(type.name, static_cast<int>(type.format));
  return found;
}

}  // namespace

void bind_weights(nb::module_& module) {
  module.def("packed_bytes", &packed_bytes, "Bytes of a packed matrix.", nb::arg("format"), nb::arg("rows"),
             nb::arg("columns"));
  module.def(
      "ready_as", [](int format) { return static_cast<int>(ready_as(static_cast<WeightFormat>(format))); },
      "The format whose ready rows a matrix of this one reads.", nb::arg("format"));
  module.def("pack", &pack, "Packs float32 [rows, columns] into out (uint8).", nb::arg("format"), nb::arg("values"),
             nb::arg("out"));
  module.def("pack_codes", &pack_codes, "Packs codes with their scales (and leasts) as they are.", nb::arg("format"),
             nb::arg("codes"), nb::arg("scale"), nb::arg("least").none(), nb::arg("out"));
  module.def("gguf_types", &gguf_types, "The types of GGUF tensors that are read: name, and the format of their codes.");
  nb::class_<HeldReader>(module, "StoredReader",
                         "Reads packed matrices from a file of GGUF blocks, from its construction on. Of each: format, "
                         "columns, and per row its place in the file (negative: zeros) and its type; and out.")
      .def(nb::init<const std::string&, std::vector<Stored>, int>(), nb::arg("path"), nb::arg("matrices"),
           nb::arg("threads"))
      .def("wait", &HeldReader::wait, "Until all is read.")
      .def("stop", &HeldReader::stop, "Leaves what is not read yet.");
  module.def("unpack", &unpack, "Writes the packed matrix into out, float32 [rows, columns].", nb::arg("format"),
             nb::arg("packed"), nb::arg("out"));
}

}  // namespace windowtax
