#include <pybind11/stl.h>

#include <utility>

#include "device_space.hpp"
#include "py_stepper.hpp"

namespace fusedstep::bindings {
namespace {

cuda::Stream stream_of(std::uintptr_t number) { return reinterpret_cast<cuda::Stream>(number); }

class DeviceStepper : public PyStepper<DeviceSpace> {
 public:
  using PyStepper::PyStepper;

  bool measures() const { return engine_.measures(); }

  // The stream of what comes next; `applied` and `grad_norm` are arrays of one bool and one
  // float64, where the next step measures.
  void use(std::uintptr_t stream, const py::object& applied, const py::object& grad_norm) {
    const Exclusive lock(*this);
    DeviceSpace& space = members_.space;
    for (const DeviceArray& param : members_.params)
      if (space.device < 0) space.device = param.device;
    space.stream = stream_of(stream);
    space.applied = applied;
    space.grad_norm = grad_norm;
    engine_.use(std::max(space.device, 0), space.stream,
                static_cast<bool*>(address_of(applied, "applied")),
                static_cast<double*>(address_of(grad_norm, "grad_norm")));
  }

 private:
  void* address_of(const py::object& scalar, const std::string& name) const {
    if (scalar.is_none()) return nullptr;
    return read_object(scalar, {"", name}, "a CUDA array", members_.space.stream).data;
  }
};

// Checks arrays as parameters are; before state is allocated for them.
void check(const std::string& role, const std::vector<std::string>& names,
           const std::vector<py::object>& arrays, std::uintptr_t stream,
           const std::string& rowwise) {
  if (names.size() != arrays.size()) throw std::invalid_argument("one name an array");
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const Subject subject{role.c_str(), names[i]};
    const DeviceArray array =
        check_numbers(arrays[i], subject, /*writeable=*/false, stream_of(stream));
    if (!rowwise.empty()) one_a_row(array, subject, rowwise);
  }
}

DeviceArray numbers_of(const py::object& array, std::uintptr_t stream) {
  static const std::string name = "array";
  return check_numbers(array, {"", name}, /*writeable=*/false, stream_of(stream));
}

}  // namespace
}  // namespace fusedstep::bindings

namespace py = pybind11;

PYBIND11_MODULE(_cuda, m, py::mod_gil_not_used()) {
  using namespace fusedstep::bindings;
  namespace cuda = fusedstep::cuda;
  m.doc() =
      "The compiled core of fusedstep for CUDA devices. Private: use the package's own names.";
  m.attr("__version__") = FUSEDSTEP_VERSION;
  m.def("device_count", &cuda::device_count, "0 where there is no driver or no device.");
  m.def("why_no_device", &cuda::why_no_device, "What the driver says; empty where there is one.");
  m.def("device_name", &cuda::device_name, py::arg("device"));
  m.def(
      "is_capturing", [](std::uintptr_t stream) { return cuda::is_capturing(stream_of(stream)); },
      py::arg("stream"), "Whether a graph is being captured on the stream.");
  m.def("check", &check, py::arg("role"), py::arg("names"), py::arg("arrays"), py::arg("stream"),
        py::arg("rowwise") = "",
        "Refuses what a parameter (of a rule that is `rowwise`) may not be.");
  m.def(
      "kind_of",
      [](const py::object& array) {
        const DeviceArray checked = numbers_of(array, 0);
        const char* const name = checked.dtype == fusedstep::DType::float32 ? "float32" : "float64";
        return std::make_pair(py::dtype(name), checked.shape);
      },
      py::arg("array"), "Its dtype, as NumPy's, and its shape.");
  m.def(
      "to_numpy",
      [](const py::object& array, std::uintptr_t stream) {
        return copy_out_of(numbers_of(array, stream), stream_of(stream));
      },
      py::arg("array"), py::arg("stream"), "A copy, in the array's memory order; waits.");
  m.def(
      "from_numpy",
      [](const py::object& array, const py::array& value, std::uintptr_t stream) {
        copy_into(numbers_of(array, stream), value, stream_of(stream));
      },
      py::arg("array"), py::arg("value"), py::arg("stream"), "Writes a value of the same shape.");

  py::class_<DeviceStepper> c(m, "Stepper",
                              "Parameters on a CUDA device, their state and their counters.");
  bind_methods<DeviceStepper>(c);
  c.def_property_readonly("measures", &DeviceStepper::measures,
                          "Whether a step begins by reading all gradients.")
      .def("use", &DeviceStepper::use, py::arg("stream"), py::arg("applied") = py::none(),
           py::arg("grad_norm") = py::none());
}
