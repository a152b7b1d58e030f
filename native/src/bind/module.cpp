// The Python module windowtax._native: levels, packing of weights, and programs.

#include "bind/bind.h"

NB_MODULE(_native, module) {
  windowtax::bind_levels(module);
  windowtax::bind_weights(module);
  windowtax::bind_program(module);
  windowtax::bind_gauge(module);
}
