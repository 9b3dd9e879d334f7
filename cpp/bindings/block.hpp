// A context manager of two functions.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/typing.h>

#include <utility>

namespace fusedstep::bindings {

// Where both are compiled, no bytecode runs between the `with` statement and them, so Ctrl-C falls
// into the block, and not between it and its end.
class Block {
 public:
  using Call = pybind11::typing::Callable<void()>;

  Block(Call enter, Call exit) : enter_(std::move(enter)), exit_(std::move(exit)) {}

  void enter() const { enter_(); }
  void exit(const pybind11::object&, const pybind11::object&, const pybind11::object&) const {
    exit_();
  }

 private:
  Call enter_, exit_;
};

}  // namespace fusedstep::bindings
