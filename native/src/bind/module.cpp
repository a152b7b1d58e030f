// The Python module windowtax._native: levels, packing of weights, vocabularies, and programs. `interface` names the sources that it
// was built from (CMakeLists.txt), for Python to see that they are those beside it.

#include "bind/bind.h"

NB_MODULE(_native, module) {
  module.attr("interface") = WINDOWTAX_INTERFACE;
  windowtax::bind_levels(module);
  windowtax::bind_weights(module);
  windowtax::bind_vocabulary(module);
  windowtax::bind_program(module);
  windowtax::bind_gauge(module);
}
