// Cycles of references through a class of ours, such as a tensor whose hook refers to its
// optimizer, are seen and freed by Python's garbage collector.
#pragma once

#include <pybind11/pybind11.h>

namespace fusedstep::bindings {

namespace py = pybind11;

// What the garbage collector does with each reference that an object holds.
class Visitor {
 public:
  Visitor(visitproc visit, void* argument) : visit_(visit), argument_(argument) {}

  void operator()(py::handle reference) {
    if (result_ == 0 && reference) result_ = visit_(reference.ptr(), argument_);
  }
  int result() const { return result_; }

 private:
  visitproc visit_;
  void* argument_;
  int result_ = 0;
};

// The instance behind an object; null before its constructor has run.
template <class T>
T* instance_of(PyObject* self) {
  const auto held = reinterpret_cast<py::detail::instance*>(self)->get_value_and_holder();
  return held.holder_constructed() ? static_cast<T*>(held.value_ptr()) : nullptr;
}

// For py::class_<T>. T::visit() takes a Visitor to each reference, and T::drop() drops them: that
// is called where nobody can reach the object any more.
template <class T>
py::custom_type_setup collected() {
  return py::custom_type_setup([](PyHeapTypeObject* heap) {
    PyTypeObject& type = heap->ht_type;
    type.tp_flags |= Py_TPFLAGS_HAVE_GC;
    type.tp_traverse = [](PyObject* self, visitproc visit, void* argument) -> int {
      Visitor visitor(visit, argument);
      visitor(reinterpret_cast<PyObject*>(Py_TYPE(self)));
      if (const T* const instance = instance_of<T>(self)) instance->visit(visitor);
      return visitor.result();
    };
    type.tp_clear = [](PyObject* self) -> int {
      if (T* const instance = instance_of<T>(self)) instance->drop();
      return 0;
    };
  });
}

}  // namespace fusedstep::bindings
