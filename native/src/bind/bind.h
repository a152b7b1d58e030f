#pragma once

#include <nanobind/nanobind.h>

namespace windowtax {

void bind_levels(nanobind::module_& module);
void bind_weights(nanobind::module_& module);
void bind_vocabulary(nanobind::module_& module);
void bind_program(nanobind::module_& module);
void bind_gauge(nanobind::module_& module);

}  // namespace windowtax
