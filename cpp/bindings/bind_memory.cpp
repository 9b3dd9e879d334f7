#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>

#include "engine/decode.hpp"
#include "engine/fill.hpp"
#include "host/arrays.hpp"
#include "host/reader.hpp"
#include "layouts.hpp"
#include "module.hpp"
#include "specs.hpp"
#include "unlocked.hpp"

namespace fusedstep::bindings {
namespace {

BufferRequest::Buffer buffer_beside(const HostArray& model, const Layout& layout) {
  const std::size_t item = bytes_of(layout.format, 1);
  const bool of_blocks = layout.is_scales || info_of(layout.format).block != 1;
  return {layout.size(model.size) * item, of_blocks ? 0 : item};
}

// `owner` keeps the memory.
py::array array_at(std::byte* address, const HostArray& model, const Layout& layout,
                   const py::capsule& owner) {
  const std::size_t item = bytes_of(layout.format, 1);
  const py::dtype dtype(held_dtype(layout.format));
  if (layout.is_scales)
    return py::array(dtype, Sizes{py::ssize_t(layout.size(model.size))}, address, owner);
  const Model like = model_of(model);
  return py::array(dtype, like.shape, dense_strides(like.shape, like.strides, item), address,
                   owner);
}

py::capsule owner_of(std::shared_ptr<Arena> arena) {
  auto shared = std::make_unique<std::shared_ptr<Arena>>(std::move(arena));
  py::capsule owner(shared.get(),
                    [](void* pointer) { delete static_cast<std::shared_ptr<Arena>*>(pointer); });
  shared.release();  // now owned by the capsule
  return owner;
}

// Arrays are checked like parameters; `names` and `role` are for messages.
std::vector<HostArray> check_models(const std::string& role, const std::vector<Name>& names,
                                    const std::vector<py::object>& like) {
  if (names.size() != like.size()) throw std::invalid_argument("expected one name per array");
  std::vector<HostArray> models;
  for (std::size_t i = 0; i < like.size(); ++i)
    models.push_back(check_numbers(like[i], {role.c_str(), names[i].text}, /*writeable=*/false));
  for (std::size_t i = 0; i < like.size(); ++i)  // a later one may run any code
    check_unchanged(models[i], {role.c_str(), names[i].text}, /*writeable=*/false);
  return models;
}

std::vector<std::pair<std::string, std::size_t>> formats_of(const std::string& role,
                                                            const std::vector<Name>& names,
                                                            const std::vector<py::object>& arrays) {
  std::vector<std::pair<std::string, std::size_t>> result;
  for (const HostArray& array : check_models(role, names, arrays))
    result.emplace_back(name_of(array.format), array.size);
  return result;
}

std::vector<std::vector<py::array>> zeros_in_phase(
    const std::string& role, const std::vector<Name>& names, const std::vector<py::object>& like,
    const std::vector<std::vector<std::string>>& layouts, const std::string& rowwise) {
  std::vector<HostArray> models = check_models(role, names, like);
  if (layouts.size() != like.size()) throw std::invalid_argument("expected layouts per array");
  std::vector<BufferRequest> requests;
  for (std::size_t i = 0; i < like.size(); ++i) {
    HostArray& model = models[i];
    requests.push_back({model.data, model.item, {}});
    if (!rowwise.empty()) model = one_a_row(model, {role.c_str(), names[i].text}, rowwise);
    for (const std::string& name : layouts[i])
      requests.back().buffers.push_back(buffer_beside(model, layout_called(name, model.format)));
  }
  const Buffers buffers = allocate_in_phase(requests);
  const py::capsule owner = owner_of(buffers.arena);
  std::vector<std::vector<py::array>> result(like.size());
  std::size_t at = 0;
  for (std::size_t i = 0; i < like.size(); ++i)
    for (const std::string& name : layouts[i])
      result[i].push_back(
          array_at(buffers.address[at++], models[i], layout_called(name, models[i].format), owner));
  return result;
}

// The scales of an array of `model`'s size, or null for None.
float* check_scales(const py::object& scales, const HostArray& model, const Subject& subject,
                    std::vector<HostArray>& kept) {
  if (scales.is_none()) return nullptr;
  const HostArray blocks = one_axis(model, scales_of(Format::signed8, model.size));
  kept.push_back(check_like(scales, blocks, written_in({Format::float32}), subject));
  return static_cast<float*>(kept.back().data);
}

// Fills buffers of zeros_in_phase() with `value`, or with copies of `values` unless empty. Those
// that hold codes have scales and the format of `layout`.
void fill_buffers(const std::vector<py::object>& buffers, double value,
                  const std::vector<py::object>& values, const std::string& layout,
                  const std::vector<py::object>& scales) {
  if (!values.empty() && values.size() != buffers.size())
    throw std::invalid_argument("expected one value per buffer");
  if (!scales.empty() && scales.size() != buffers.size())
    throw std::invalid_argument("expected scales per buffer");
  const Format narrow = layout_called(layout, Format::float32).format;
  Formats formats{Format::float32, Format::float64, narrow};
  if (narrow != Format::float16) formats.add(Format::bfloat16);
  std::vector<HostArray> kept;
  std::vector<FilledArray> arrays;
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    const Subject subject{"buffer", "number " + std::to_string(i)};
    Description described = read_array(buffers[i], subject);
    const Format format = check_array(described, written_in(formats), subject);
    const HostArray to = kept.emplace_back(std::move(described), format);
    arrays.push_back({to.stored(), to.size, {}});
    if (!scales.empty()) arrays.back().to.scales = check_scales(scales[i], to, subject, kept);
    if (!values.empty())
      arrays.back().from =
          kept.emplace_back(check_like(values[i], to, gradient_of(to.format), subject)).stored();
  }
  // The code of a later array may have changed an earlier one.
  for (const HostArray& array : kept) check_unchanged(array, {"", "buffer"}, /*writeable=*/false);
  const Unlocked unlocked;
  fill(arrays, value);
}

// The numbers that an array holds in the format of a layout, in a new array of the same order.
py::array decoded(const py::object& array, const std::string& layout, const py::object& scales,
                  const py::object& correction, const std::string& rounding) {
  static const std::string name = "array";
  const Subject subject{"", name};
  Description described = read_array(array, subject);
  Expected expected{{layout_called(layout, Format::float32).format}, /*as_bits=*/true};
  const Format format = check_array(described, expected, subject);
  const HostArray from(std::move(described), format);
  std::vector<HostArray> kept{from};
  Array numbers = from.stored(), rest;
  numbers.scales = check_scales(scales, from, subject, kept);
  if (info_of(format).block != 1 && numbers.scales == nullptr)
    throw std::invalid_argument("decoded: expected scales with 8-bit codes");
  if (!correction.is_none()) {
    const Formats formats = formats_of_correction(rounding_called(rounding), format);
    kept.push_back(check_like(correction, from, {formats, /*as_bits=*/true}, subject));
    rest = kept.back().stored();
  }
  py::array result = array_at(nullptr, from, {Format::float32}, py::capsule());
  for (const HostArray& one : kept) check_unchanged(one, subject, /*writeable=*/false);
  auto* const to = static_cast<float*>(result.mutable_data());
  const Unlocked unlocked;
  decode(numbers, rest, from.size, to);
  return result;
}

}  // namespace

void bind_memory(py::module_& m) {
  m.def("formats_of", &formats_of, py::arg("role"), py::arg("names"), py::arg("arrays"),
        "The format of each array, by name, and how many elements it has.");
  m.def("zeros_in_phase", &zeros_in_phase, py::arg("role"), py::arg("names"), py::arg("like"),
        py::arg("layouts"), py::arg("rowwise") = "",
        "For each array, zeroed ones of its shape and order, in one block of memory: of each of "
        "its layouts, 'native' (float32 or float64), 'scales' or a format. They begin cache lines "
        "where it does. For the row-wise rule named `rowwise`: with one number per row.");
  m.def("fill_buffers", &fill_buffers, py::arg("buffers"), py::arg("value") = 0.0,
        py::arg("values") = std::vector<py::object>(), py::arg("layout") = "native",
        py::arg("scales") = std::vector<py::object>(),
        "Writes buffers of zeros_in_phase() on the threads that steps over them will have: all "
        "elements `value`, or copies of `values`, of the same shapes and orders.");
  m.def("decoded", &decoded, py::arg("array"), py::arg("layout"), py::arg("scales") = py::none(),
        py::arg("correction") = py::none(), py::arg("rounding") = "nearest",
        "A float32 copy of what an array holds in the format of its layout, with its scales, or "
        "with the correction of a parameter that is rounded so.");
}

}  // namespace fusedstep::bindings
