#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <memory>
#include <utility>

#include "bind_methods.hpp"
#include "device/space.hpp"
#include "module.hpp"

namespace fusedstep::bindings {
namespace {

cuda::Stream stream_of(std::uintptr_t number) { return reinterpret_cast<cuda::Stream>(number); }

using DeviceStepper = PyStepper<DeviceSpace>;

// Checks arrays as parameters are; before state is allocated for them.
void check(const std::string& role, const std::vector<Name>& names,
           const std::vector<py::object>& arrays, std::uintptr_t stream,
           const std::string& rowwise) {
  if (names.size() != arrays.size()) throw std::invalid_argument("one name an array");
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const Subject subject{role.c_str(), names[i].text};
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

FUSEDSTEP_MODULE(_cuda, _cuda_itself, m) {
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
        return std::make_pair(py::dtype(fusedstep::name_of(checked.format)), checked.shape);
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
                              "Parameters on a CUDA device, their state and their counters.",
                              collected<DeviceStepper>());
  c.def(py::init([](const std::string& rule, const std::string& gradient, std::string target,
                    py::typing::Callable<int()> stream,
                    py::typing::Callable<py::object(std::string)> scalar) {
          return std::make_unique<DeviceStepper>(rule, gradient, std::move(target),
                                                 DeviceSpace(std::move(stream), std::move(scalar)));
        }),
        py::arg("rule"), py::arg("gradient") = "gradient", py::arg("target") = "parameter",
        py::kw_only(), py::arg("stream"), py::arg("scalar"),
        "`stream()` is the number of the current stream; `scalar(dtype)` an array of one number.");
  bind_methods<DeviceStepper>(c);
}
