// Programs and steps. Addresses come as integers: the tensors behind them belong to Python, which keeps them.

#include "program/program.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind/bind.h"

namespace nb = nanobind;

namespace windowtax {

namespace {

using Address = uintptr_t;

Plane plane(const std::vector<Address>& place) {
  return place.empty() ? Plane{nullptr, 0}
                       : Plane{reinterpret_cast<uint8_t*>(place.at(0)), static_cast<int64_t>(place.at(1))};
}

// A part as Python says it; a plane is [address of the layer's first block, bytes per block], or empty.
void add_part(Attention& attention, int k_element, int v_element, int64_t group, std::vector<Address> k,
              std::vector<Address> v, std::vector<Address> k_scale, std::vector<Address> v_scale, int64_t skip_first,
              int64_t keep_first, bool windowed, int64_t scale_group, int64_t tail_group, std::vector<Address> tail) {
  KvPart part;
  part.view = {static_cast<Element>(k_element), static_cast<Element>(v_element),
               attention.kv_heads,              attention.k_dim,
               attention.v_dim,                 plane(k),
               plane(v),                        plane(k_scale),
               plane(v_scale)};
  part.group = group;
  part.skip_first = skip_first;
  part.keep_first = keep_first < 0 ? INT64_MAX : keep_first;
  part.windowed = windowed;
  part.scale_group = scale_group;
  part.tail_group = tail_group;
  part.tail = plane(tail);
  attention.parts.push_back(part);
}

void set_top_blocks(Attention& attention, int64_t top, int64_t group, std::vector<Address> least,
                    std::vector<Address> greatest) {
  attention.top_blocks = top;
  attention.summary_group = group;
  attention.minimum = plane(least);
  attention.maximum = plane(greatest);
}

// sampled: how many of the sequence's last rows want logits.
void add_sequence(Step& step, const std::vector<int64_t>& token_ids, int64_t start, int64_t sampled,
                  std::vector<std::vector<int32_t>> tables, const std::vector<int64_t>& firsts,
                  std::vector<int32_t> rotation) {
  SequenceStep sequence;
  sequence.first_row = step.rows();
  sequence.rows = static_cast<int64_t>(token_ids.size());
  sequence.start = start;
  if (!step.sequences.empty()) {
    const SequenceStep& before = step.sequences.back();
    sequence.first_own = before.first_own + before.own_blocks();
  }
  for (size_t i = 0; i < tables.size(); ++i) sequence.tables.push_back({std::move(tables[i]), firsts.at(i)});
  sequence.rotation = std::move(rotation);
  step.token_ids.insert(step.token_ids.end(), token_ids.begin(), token_ids.end());
  for (int64_t row = step.rows() - sampled; row < step.rows(); ++row) step.sampled.push_back(row);
  step.sequences.push_back(std::move(sequence));
}

using Rows = nb::ndarray<nb::numpy, float, nb::ndim<2>>;

}  // namespace

void bind_program(nb::module_& module) {
  nb::class_<Attention>(module, "Attention", "What a layer's attention is, and where its planes lie.")
      .def(nb::init<>())
      .def_rw("query_heads", &Attention::query_heads)
      .def_rw("kv_heads", &Attention::kv_heads)
      .def_rw("k_dim", &Attention::k_dim)
      .def_rw("v_dim", &Attention::v_dim)
      .def_rw("scale", &Attention::scale)
      .def_rw("softcap", &Attention::softcap)
      .def_rw("window", &Attention::window)
      .def_rw("chunk", &Attention::chunk)
      .def_rw("turned_keys", &Attention::turned_keys)
      .def("add_part", &add_part, nb::arg("k_element"), nb::arg("v_element"), nb::arg("group"), nb::arg("k"),
           nb::arg("v"), nb::arg("k_scale"), nb::arg("v_scale"), nb::arg("skip_first"), nb::arg("keep_first"),
           nb::arg("windowed"), nb::arg("scale_group"), nb::arg("tail_group"), nb::arg("tail"))
      .def("set_top_blocks", &set_top_blocks, nb::arg("top"), nb::arg("group"), nb::arg("minimum"), nb::arg("maximum"));

  nb::class_<Step>(module, "Step", "The tokens of one step.")
      .def(nb::init<>())
      .def("add", &add_sequence, nb::arg("token_ids"), nb::arg("start"), nb::arg("sampled"), nb::arg("tables"),
           nb::arg("firsts"), nb::arg("rotation"));

  nb::class_<Program>(module, "Program", "The operations of a model's step; recorded once, run with one call.")
      .def(nb::init<const std::string&, int>(), nb::arg("level"), nb::arg("num_threads"))
      .def_prop_ro("level", [](const Program& self) { return std::string(self.kernels().level); })
      .def_prop_ro("num_threads", &Program::num_threads)
      .def_prop_ro("num_operations", &Program::num_operations)
      .def_prop_ro("buffer_bytes", &Program::buffer_bytes)
      .def(
          "matrix",
          [](Program& self, int format, int64_t rows, int64_t columns, Address data) {
            return self.matrix(static_cast<WeightFormat>(format), rows, columns, reinterpret_cast<uint8_t*>(data));
          },
          nb::arg("format"), nb::arg("rows"), nb::arg("columns"), nb::arg("address"))
      .def("buffer", &Program::buffer, nb::arg("columns"), nb::arg("sampled") = false)
      .def("rotation", &Program::rotation, nb::arg("half"))
      .def("frequencies", &Program::frequencies, nb::arg("rotation"), nb::arg("inverse"), nb::arg("factor"))
      .def("attention", &Program::attention, nb::arg("attention"))
      .def("embed", &Program::embed, nb::arg("matrix"), nb::arg("scale"), nb::arg("out"))
      .def(
          "ready",
          [](Program& self, int x, int format, std::vector<float> norm, float eps) {
            return self.ready(x, static_cast<WeightFormat>(format), std::move(norm), eps);
          },
          nb::arg("x"), nb::arg("format"), nb::arg("norm"), nb::arg("eps"))
      .def(
          "linear",
          [](Program& self, int ready, int matrix, std::vector<float> bias, int ending, int out,
             int64_t column) {
            self.linear(ready, matrix, std::move(bias), static_cast<Ending>(ending), out, column);
          },
          nb::arg("ready"), nb::arg("matrix"), nb::arg("bias"), nb::arg("ending"), nb::arg("out"),
          nb::arg("column") = 0)
      .def("heads", &Program::heads, nb::arg("attention"), nb::arg("norm"), nb::arg("q_norm"), nb::arg("k_norm"),
           nb::arg("eps"), nb::arg("rotation"), nb::arg("qkv"))
      .def("attend", &Program::attend, nb::arg("attention"), nb::arg("qkv"), nb::arg("out"))
      .def("norm_add", &Program::norm_add, nb::arg("x"), nb::arg("weight"), nb::arg("eps"), nb::arg("out"))
      .def("gather", &Program::gather, nb::arg("x"), nb::arg("out"))
      .def("head", &Program::head, nb::arg("ready"), nb::arg("matrix"), nb::arg("bias"), nb::arg("cap"), nb::arg("out"))
      .def("run", nb::overload_cast<const Step&>(&Program::run), nb::arg("step"), nb::call_guard<nb::gil_scoped_release>())
      .def("choose", &Program::choose, nb::arg("step"), nb::call_guard<nb::gil_scoped_release>(),
           "One step, of which no logits are left: the column of each row's largest, of equals the first; -1 where one is "
           "NaN.")
      .def(
          "rows",
          [](Program& self, int buffer, int64_t count) {
            Buffer& found = self.at(buffer);
            return Rows(found.row(0), {static_cast<size_t>(count), static_cast<size_t>(found.columns())}, nb::handle());
          },
          nb::arg("buffer"), nb::arg("count"), nb::rv_policy::reference_internal,
          "The buffer's first rows: a view that the next run overwrites.");
}

}  // namespace windowtax
