// The values of the parameters while these hold others, such as their averages.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "block.hpp"
#include "members.hpp"

namespace fusedstep::bindings {

template <class Space>
class Swapped {
 public:
  using Checked = typename Space::Array;

  // Why the parameters hold other values; empty where they do not.
  const std::string& why() const { return why_; }
  // In the order of the parameters; those added since have theirs themselves.
  const std::vector<Checked>& values() const { return values_; }

  // Throws where the parameters hold other values and cannot have their own back.
  void refuse(const char* what, const Members<Space>& members) {
    if (ends_) put_back(members);
    if (!why_.empty()) throw std::runtime_error(std::string("cannot ") + what + " " + why_);
  }

  // Exchanges the parameters for `others`, one array like each, all or none. `written()` is called
  // whenever the parameters are.
  void put(const std::vector<py::object>& others, const std::string& why,
           const Block::Call& written, const Members<Space>& members) {
    if (others.size() != members.params.size())
      throw std::invalid_argument("expected one value per parameter");
    std::vector<Checked> values;
    for (std::size_t i = 0; i < others.size(); ++i) {
      const Subject subject{"average of", members.engine.tensors()[i].name};
      const auto& param = members.params[i];
      values.push_back(
          members.space.check_like(others[i], param, written_in({param.format}), subject));
    }
    Swapped swapped(why, written, std::move(values));
    written();
    members.ask();
    members.check_written();
    members.space.exchange(members.params, swapped.values_);
    *this = std::move(swapped);
  }

  // All or none. Where it throws, because a parameter is locked, refuse() tries again.
  void put_back(const Members<Space>& members) {
    if (why_.empty()) return;
    ends_ = true;
    members.ask();
    members.check_written();
    members.space.exchange(members.params, values_);
    const Swapped done = std::exchange(*this, {});
    done.written_();  // last, since Ctrl-C may fall into it
  }

  void visit(Visitor& visitor) const {
    visitor(written_);
    for (const Checked& one : values_) one.visit(visitor);
  }

  Swapped() = default;

 private:
  Swapped(std::string why, py::object written, std::vector<Checked> values)
      : why_(std::move(why)), written_(std::move(written)), values_(std::move(values)) {}

  std::string why_;
  py::object written_;
  std::vector<Checked> values_;
  bool ends_ = false;  // as soon as that can be
};

}  // namespace fusedstep::bindings
