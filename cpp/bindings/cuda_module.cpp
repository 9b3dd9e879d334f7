#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <memory>
#include <optional>
#include <utility>

#include "bind_methods.hpp"
#include "device/space.hpp"
#include "layouts.hpp"
#include "module.hpp"

namespace fusedstep::bindings {
namespace {

cuda::Stream stream_of(std::uintptr_t number) { return reinterpret_cast<cuda::Stream>(number); }

using DeviceStepper = PyStepper<DeviceSpace>;

// Checks arrays as parameters are; before state is allocated for them.
std::vector<DeviceArray> check(const std::string& role, const std::vector<Name>& names,
                               const std::vector<py::object>& arrays, std::uintptr_t stream) {
  if (names.size() != arrays.size()) throw std::invalid_argument("one name an array");
  std::vector<DeviceArray> result;
  for (std::size_t i = 0; i < arrays.size(); ++i)
    result.push_back(check_numbers(arrays[i], {role.c_str(), names[i].text}, /*writeable=*/false,
                                   stream_of(stream)));
  return result;
}

std::vector<std::pair<std::string, std::size_t>> formats_of(const std::string& role,
                                                            const std::vector<Name>& names,
                                                            const std::vector<py::object>& arrays,
                                                            std::uintptr_t stream) {
  std::vector<std::pair<std::string, std::size_t>> result;
  for (const DeviceArray& array : check(role, names, arrays, stream))
    result.emplace_back(name_of(array.format), array.size);
  return result;
}

// The dtype of an array beside a parameter, unless it is that of the parameter, and its length if
// it has one axis of its own.
using FormBeside = std::pair<std::optional<std::string>, std::optional<std::size_t>>;

std::vector<std::vector<FormBeside>> forms_beside(
    const std::string& role, const std::vector<Name>& names, const std::vector<py::object>& arrays,
    const std::vector<std::vector<std::string>>& layouts, std::uintptr_t stream,
    const std::string& rowwise) {
  const std::vector<DeviceArray> models = check(role, names, arrays, stream);
  if (layouts.size() != models.size()) throw std::invalid_argument("expected layouts per array");
  std::vector<std::vector<FormBeside>> result(models.size());
  for (std::size_t i = 0; i < models.size(); ++i) {
    const DeviceArray& model = models[i];
    std::optional<std::size_t> rows;
    if (!rowwise.empty()) rows = one_a_row(model, {role.c_str(), names[i].text}, rowwise).size;
    for (const std::string& name : layouts[i]) {
      const Layout layout = layout_called(name, model.format);
      FormBeside& form =
          result[i].emplace_back(std::nullopt, layout.is_scales ? layout.size(model.size) : rows);
      const bool is_own = layout.format == model.format && is_native(model.format);
      if (!is_own) form.first = held_dtype(layout.format);
    }
  }
  return result;
}

DeviceArray held(const py::object& array, std::uintptr_t stream) {
  static const std::string name = "array";
  return check_held(array, {"", name}, stream_of(stream));
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
  m.def("formats_of", &formats_of, py::arg("role"), py::arg("names"), py::arg("arrays"),
        py::arg("stream"), "The format of each array, by name, and how many elements it has.");
  m.def("forms_beside", &forms_beside, py::arg("role"), py::arg("names"), py::arg("arrays"),
        py::arg("layouts"), py::arg("stream"), py::arg("rowwise") = "",
        "For each of an array's layouts, the dtype, None if it is the array's own, and the length "
        "of one axis, where that is of blocks, or of rows beside an array of the rule named "
        "`rowwise`.");
  m.def(
      "kind_of",
      [](const py::object& array) {
        const DeviceArray checked = held(array, 0);
        return std::make_pair(dtype_on_host(checked), checked.shape);
      },
      py::arg("array"), "Its dtype on the host, and its shape.");
  m.def(
      "to_numpy",
      [](const py::object& array, std::uintptr_t stream) {
        return copy_out_of(held(array, stream), stream_of(stream));
      },
      py::arg("array"), py::arg("stream"), "A copy, in the array's memory order; waits.");
  m.def(
      "from_numpy",
      [](const py::object& array, const py::array& value, std::uintptr_t stream) {
        copy_into(held(array, stream), value, stream_of(stream));
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
