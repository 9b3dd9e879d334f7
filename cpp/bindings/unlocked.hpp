// RAII guard: releases the GIL (py::gil_scoped_release, but for the end of the process).
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>

namespace fusedstep::bindings {

// Before Python 3.14, a thread that wants the GIL back while the interpreter ends is ended by
// pthread_exit(), whose unwinding ends the process in a destructor or in pybind11's catch-all. From
// 3.14 on, and here, it sleeps until the process is gone.
class Unlocked {
 public:
  Unlocked() : state_(PyEval_SaveThread()) {}
  ~Unlocked() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {  // the unwinding, which must not leave this handler
      for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
  }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace fusedstep::bindings
