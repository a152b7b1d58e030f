#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind/bind.h"
#include "levels.h"

namespace nb = nanobind;

namespace windowtax {

void bind_levels(nb::module_& module) {
  nb::class_<Level>(module, "Level", "An instruction-set level: whether it was built, whether it runs here, and why not.")
      .def_ro("name", &Level::name)
      .def_ro("built", &Level::built)
      .def_ro("runs", &Level::runs)
      .def_ro("why_not", &Level::why_not);
  module.def("levels", &levels, "All levels, slowest first.");
}

}  // namespace windowtax
