// The arrays of an optimizer as they are saved, and values that are loaded into them.
#pragma once

#include <stdexcept>
#include <vector>

#include "members.hpp"

namespace fusedstep::bindings {

template <class Space>
class Saved {
 public:
  using Checked = typename Space::Array;

  explicit Saved(const Members<Space>& members) : members_(members) {}

  // NumPy arrays over the memory as it is now; on a device, copies.
  std::vector<py::array> states() const {
    std::vector<py::array> views;
    for (std::size_t i = 0; i < members_.states.size(); ++i) {
      members_.check_state(i, /*writeable=*/false);
      views.push_back(members_.space.view_of(members_.states[i]));
    }
    return views;
  }
  std::vector<py::array> params() const {
    members_.ask();
    std::vector<py::array> views;
    for (std::size_t i = 0; i < members_.params.size(); ++i) {
      members_.check_param(i, /*writeable=*/false);
      views.push_back(members_.space.view_of(members_.params[i]));
    }
    return views;
  }

  // Values made ready so that assigning them cannot fail: in the dtypes and orders of their
  // targets, and copied where they overlap memory that is written first.
  std::vector<py::array> ready_states(const std::vector<py::array>& values) const {
    if (values.size() != members_.states.size())
      throw std::invalid_argument("restore: expected one value per state");
    for (std::size_t i = 0; i < values.size(); ++i) check_blocks(i, values[i]);
    return ready(members_.states, values);
  }
  std::vector<py::array> ready_params(const std::vector<py::array>& values) const {
    if (values.size() != members_.params.size())
      throw std::invalid_argument("restore: expected one value per parameter");
    return ready(members_.params, values);
  }

 private:
  // Scales belong to blocks of elements as they lie in memory.
  void check_blocks(std::size_t state, const py::array& value) const {
    if (info_of(members_.states[state].format).block == 1) return;
    const Model target = model_of(members_.states[state]);
    const Sizes strides(value.strides(), value.strides() + value.ndim());
    const auto item = static_cast<std::size_t>(value.itemsize());
    if (are_alike(target.shape, strides, item, target.strides, target.item)) return;
    throw py::value_error(members_.text_of_state(state) + ": expected its 8-bit numbers in " +
                          order_text(target.shape, target.strides, target.item) +
                          " as here, since scales belong to blocks in memory, got " +
                          order_text(target.shape, strides, item));
  }

  std::vector<py::array> ready(const std::vector<Checked>& targets,
                               const std::vector<py::array>& values) const {
    std::vector<py::array> result;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const py::object dtype = py::cast(held_dtype(targets[i].format));
      py::array value = in_order_of(model_of(targets[i]).strides, values[i], dtype);
      const auto size = static_cast<std::size_t>(value.size());
      if (size != targets[i].size) throw std::invalid_argument("a value has its array's shape");
      if (members_.occupied.find(Extent{value.data(), size * targets[i].item}) != nullptr)
        value = value.attr("copy")("K");
      result.push_back(std::move(value));
    }
    return result;
  }

  const Members<Space>& members_;
};

}  // namespace fusedstep::bindings
