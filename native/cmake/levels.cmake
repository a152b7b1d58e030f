# Which levels this compiler can build for this processor family, and how each is compiled.
include(CheckCXXCompilerFlag)

set(FLAGS_portable "")
set(FLAGS_avx2 -mavx2 -mfma -mf16c -mbmi2)
set(FLAGS_avx512 ${FLAGS_avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512bf16 -mavx512vbmi -mprefer-vector-width=512)
set(FLAGS_amx ${FLAGS_avx512} -mavx512fp16 -mamx-tile -mamx-bf16 -mamx-int8)

set(WINDOWTAX_LEVELS portable)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  foreach(level avx2 avx512 amx)
    string(REPLACE ";" " " flags "${FLAGS_${level}}")
    check_cxx_compiler_flag("${flags}" WINDOWTAX_COMPILES_${level})
    if(WINDOWTAX_COMPILES_${level})
      list(APPEND WINDOWTAX_LEVELS ${level})
    endif()
  endforeach()
endif()

# Adds the kernels compiled for one level: the same sources, in a namespace of their own.
function(windowtax_add_level level)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/src/kernels/*.cpp)
  add_library(kernels_${level} OBJECT ${sources})
  target_include_directories(kernels_${level} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/src)
  target_compile_options(kernels_${level} PRIVATE ${FLAGS_${level}})
  target_compile_definitions(kernels_${level} PRIVATE WINDOWTAX_LEVEL=${level})
  target_compile_definitions(windowtax_kernels PRIVATE WINDOWTAX_HAS_${level})
  target_sources(windowtax_kernels PRIVATE $<TARGET_OBJECTS:kernels_${level}>)
endfunction()
