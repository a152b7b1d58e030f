// Packing and unpacking of weights. Arrays are numpy's; the caller slices them so that threads can share the work.

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <stdexcept>
#include <string>

#include "bind/bind.h"
#include "gguf.h"
#include "levels.h"

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

template <typename T>
using Out = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

bool reads_blocks(const std::string& type) { return gguf_type(type.c_str()) != nullptr; }

void read_blocks(const std::string& type, Out<const uint8_t> stored, Out<int8_t> codes, Out<float> scale,
                 nb::object least) {
  const GgufType* found = gguf_type(type.c_str());
  need(found != nullptr, "blocks of this type are not read");
  const int64_t rows = stored.shape(0), columns = codes.shape(1);
  need(static_cast<int64_t>(codes.shape(0)) == rows && columns % found->numbers == 0, "codes should be whole blocks");
  const int64_t blocks = rows * (columns / found->numbers);
  need(static_cast<int64_t>(stored.size()) == blocks * found->bytes, "stored has the wrong size");
  need(static_cast<int64_t>(scale.size()) == rows * columns / kGroup, "scale should be [rows, columns / 32]");
  need(found->has_least != least.is_none(), "types with a least value need a place for it, and no others");
  float* leasts = nullptr;
  Out<float> held;
  if (!least.is_none()) {
    held = nb::cast<Out<float>>(least);
    need(held.size() == scale.size(), "least should be as large as scale");
    leasts = held.data();
  }
  nb::gil_scoped_release release;
  found->read(stored.data(), blocks, codes.data(), scale.data(), leasts);
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
  module.def("reads_blocks", &reads_blocks, "Whether GGUF blocks of this type are read as they are.", nb::arg("type"));
  module.def("read_blocks", &read_blocks, "GGUF blocks [rows, bytes] as codes with their scales (and leasts).",
             nb::arg("type"), nb::arg("stored"), nb::arg("codes"), nb::arg("scale"), nb::arg("least").none());
  module.def("unpack", &unpack, "Writes the packed matrix into out, float32 [rows, columns].", nb::arg("format"),
             nb::arg("packed"), nb::arg("out"));
}

}  // namespace windowtax
