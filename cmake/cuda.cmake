# The CUDA engine: the same sources for a GPU and for the tests' CPU emulation, which differ only in
# the compiler of kernels.cu and in the runtime.
if(NOT FUSEDSTEP_CUDA_EMULATION)
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "FUSEDSTEP_CUDA: expected nvcc of CUDA 12 or newer in PATH (or as "
                        "CMAKE_CUDA_COMPILER), got none")
  endif()
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 90-virtual)  # PTX for future GPUs
  endif()
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  enable_language(CUDA)
  find_package(CUDAToolkit 12 REQUIRED)
endif()

add_library(fusedstep_cuda_engine STATIC cpp/cuda/kernels.cu cpp/cuda/stepper.cpp)
target_link_libraries(fusedstep_cuda_engine PUBLIC fusedstep_engine)

if(FUSEDSTEP_CUDA_EMULATION)
  set_source_files_properties(cpp/cuda/kernels.cu PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++;-O1")
  target_sources(fusedstep_cuda_engine PRIVATE tests/native/cuda_runtime.cpp)
  add_executable(fusedstep_cuda_sweeps EXCLUDE_FROM_ALL tests/native/cuda_sweeps.cpp)
  target_link_libraries(fusedstep_cuda_sweeps PRIVATE fusedstep_cuda_engine)
  return()
endif()

target_sources(fusedstep_cuda_engine PRIVATE cpp/cuda/runtime.cpp)
target_link_libraries(fusedstep_cuda_engine PUBLIC CUDA::cudart_static)
# Only the first differs from nvcc's defaults; listed because the exact bits depend on them.
set(FUSEDSTEP_NVCC_OPTIONS --fmad=false --prec-div=true --prec-sqrt=true --ftz=false
                           --expt-relaxed-constexpr --threads=2
                           -Xcompiler=-Wall,-Wextra,-ffp-contract=off)
if(FUSEDSTEP_WERROR)
  list(APPEND FUSEDSTEP_NVCC_OPTIONS --Werror=all-warnings -Xcompiler=-Werror)
endif()
target_compile_options(fusedstep_cuda_engine PRIVATE
                       "$<$<COMPILE_LANGUAGE:CUDA>:${FUSEDSTEP_NVCC_OPTIONS}>")
