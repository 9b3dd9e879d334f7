#include <pybind11/stl.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "engine/fill.hpp"
#include "host/arrays.hpp"
#include "module.hpp"
#include "unlocked.hpp"

namespace fusedstep::bindings {
namespace {

// `owner` keeps the memory.
py::array zeros_like(const py::array& model, std::byte* address, const py::capsule& owner) {
  const std::vector<py::ssize_t> shape(model.shape(), model.shape() + model.ndim());
  const std::vector<py::ssize_t> strides(model.strides(), model.strides() + model.ndim());
  return py::array(model.dtype(), shape, strides, address, owner);
}

py::capsule owner_of(std::shared_ptr<Arena> arena) {
  auto shared = std::make_unique<std::shared_ptr<Arena>>(std::move(arena));
  py::capsule owner(shared.get(),
                    [](void* pointer) { delete static_cast<std::shared_ptr<Arena>*>(pointer); });
  shared.release();  // now owned by the capsule
  return owner;
}

// Arrays are checked like parameters; `names` and `role` are for messages.
std::vector<std::vector<py::array>> zeros_in_phase(const std::string& role,
                                                   const std::vector<Name>& names,
                                                   const std::vector<py::object>& like,
                                                   std::size_t copies, const std::string& rowwise) {
  if (names.size() != like.size()) throw std::invalid_argument("expected one name per array");
  std::vector<HostArray> models;
  std::vector<BufferRequest> requests;
  for (std::size_t i = 0; i < like.size(); ++i)
    models.push_back(check_numbers(like[i], {role.c_str(), names[i].text}, /*writeable=*/false));
  for (std::size_t i = 0; i < like.size(); ++i) {
    const Subject subject{role.c_str(), names[i].text};
    HostArray& model = models[i];
    check_unchanged(model, subject, /*writeable=*/false);  // a later one may run any code
    if (!rowwise.empty()) model = one_a_row(model, subject, rowwise);
    requests.push_back({model.data, std::vector(copies, bytes_of(model.format, model.size))});
  }
  const Buffers buffers = allocate_in_phase(requests);
  const py::capsule owner = owner_of(buffers.arena);
  std::vector<std::vector<py::array>> result(like.size());
  for (std::size_t i = 0; i < like.size(); ++i) {
    result[i].reserve(copies);
    const py::array model = models[i].array();
    for (std::size_t k = 0; k < copies; ++k)
      result[i].push_back(zeros_like(model, buffers.address[i * copies + k], owner));
  }
  return result;
}

// Fills buffers of zeros_in_phase() with `value`, or with copies of `values` unless empty.
void fill_buffers(const std::vector<py::object>& buffers, double value,
                  const std::vector<py::object>& values) {
  if (!values.empty() && values.size() != buffers.size())
    throw std::invalid_argument("expected one value per buffer");
  std::vector<HostArray> kept;
  std::vector<FilledArray> arrays;
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    const Subject subject{"buffer", "number " + std::to_string(i)};
    const HostArray to = kept.emplace_back(check_numbers(buffers[i], subject, true));
    const void* from = nullptr;
    if (!values.empty())
      from = kept.emplace_back(check_like(values[i], to, subject, /*writeable=*/false)).data;
    arrays.push_back({to.stored(), to.size, from});
  }
  // The code of a later array may have changed an earlier one.
  for (const HostArray& array : kept) check_unchanged(array, {"", "buffer"}, /*writeable=*/false);
  const Unlocked unlocked;
  fill(arrays, value);
}

}  // namespace

void bind_memory(py::module_& m) {
  m.def("zeros_in_phase", &zeros_in_phase, py::arg("role"), py::arg("names"), py::arg("like"),
        py::arg("copies"), py::arg("rowwise") = "",
        "For each array, `copies` zeroed ones of its shape, dtype and order, at its address modulo "
        "64, in one block of memory. For the row-wise rule named `rowwise`: with one number per "
        "row.");
  m.def("fill_buffers", &fill_buffers, py::arg("buffers"), py::arg("value") = 0.0,
        py::arg("values") = std::vector<py::object>(),
        "Writes buffers of zeros_in_phase() on the threads that steps over them will have: all "
        "elements `value`, or copies of `values`, of the same dtypes, shapes and orders.");
}

}  // namespace fusedstep::bindings
