#include <pybind11/stl.h>

#include <atomic>
#include <stdexcept>
#include <tuple>

#include "../overlap.hpp"
#include "../stepper.hpp"
#include "arrays.hpp"
#include "module.hpp"

namespace fusedstep::bindings {
namespace {

std::size_t rule_index(const std::string& name) {
  for (std::size_t i = 0; i < registry().size(); ++i)
    if (name == registry()[i].name) return i;
  throw std::invalid_argument("no compiled rule is called '" + name + "'");
}

// The arrays of a tensor that are written: the parameter, then its states.
constexpr std::size_t kSlots = 1 + kMaxStates;

// The gradients of one call, checked and kept alive.
struct Gradients {
  bool present = false;
  bool foreign = false;              // some came through DLPack
  std::vector<CheckedArray> arrays;  // of a None: without data
  std::vector<const void*> pointers;

  void clear() {
    present = foreign = false;
    arrays.clear();
    pointers.clear();
  }
};

// A Stepper that owns references to its arrays and lets one thread in at a time.
class PyStepper {
 public:
  // `gradient` and `like` are what messages call a gradient and what it must resemble.
  PyStepper(const std::string& rule, std::string gradient, std::string like)
      : stepper_(rule_index(rule)), gradient_(std::move(gradient)), like_(std::move(like)) {}

  class Exclusive {
   public:
    explicit Exclusive(PyStepper& owner) : owner_(owner) {
      if (owner.busy_.exchange(true))
        throw std::runtime_error("a step is in progress on this optimizer in another thread");
    }
    ~Exclusive() { owner_.busy_ = false; }
    Exclusive(const Exclusive&) = delete;
    Exclusive& operator=(const Exclusive&) = delete;

   private:
    PyStepper& owner_;
  };

  std::size_t add_group(const std::vector<double>& scalars, unsigned variant, double weight_decay,
                        bool maximize) {
    const Exclusive lock(*this);
    stepper_.groups().push_back(make_group(scalars, variant, weight_decay, maximize));
    return stepper_.groups().size() - 1;
  }

  void set_group(std::size_t index, const std::vector<double>& scalars, unsigned variant,
                 double weight_decay, bool maximize) {
    const Exclusive lock(*this);
    stepper_.groups().at(index) = make_group(scalars, variant, weight_decay, maximize);
  }

  // Parameters with their states (in the order of RuleInfo.states) and groups: all or none.
  using Entry = std::tuple<std::string, py::object, std::vector<py::object>, std::size_t>;
  void add(const std::vector<Entry>& entries) {
    const Exclusive lock(*this);
    Addition addition{{}, {}, {}, occupied_};
    for (const auto& [name, param, states, group] : entries)
      check_entry(name, param, states, group, addition);
    for (Tensor& tensor : addition.tensors) stepper_.add(std::move(tensor));
    params_.insert(params_.end(), addition.params.begin(), addition.params.end());
    states_.insert(states_.end(), addition.states.begin(), addition.states.end());
    occupied_ = std::move(addition.occupied);
    apart_.assign(params_.size(), nullptr);
    bound_.clear();
  }

  void bind(py::handle gradients) {
    const Exclusive lock(*this);
    Gradients checked;
    if (!gradients.is_none()) {
      collect(gradients, 0, 1, checked);
      check_collected(checked, 1);
    }
    bound_ = std::move(checked);
  }

  // The step over gradients in the order of add(), or over the bound ones.
  void step(py::handle gradients) {
    const Exclusive lock(*this);
    if (gradients.is_none()) {
      if (!bound_.present)
        throw std::runtime_error(
            "step() without gradients: expected step(grads), or bind(grads) first");
      check_gradients(bound_, 1);
      execute({bound_.pointers.data()});
    } else {
      const Release release(passed_);
      collect(gradients, 0, 1, passed_);
      check_collected(passed_, 1);
      execute({passed_.pointers.data()});
    }
  }

  // One step over the weighted sum of several gradient sets, divided by `divisor`.
  void step_combined(const std::vector<py::object>& sets, const std::vector<double>& weights,
                     double divisor) {
    const Exclusive lock(*this);
    const Release release(passed_);
    for (std::size_t k = 0; k < sets.size(); ++k) collect(sets[k], k, sets.size(), passed_);
    for (std::size_t i = 0; i < params_.size(); ++i) check_all_or_none(i, sets.size());
    check_collected(passed_, sets.size());
    execute({passed_.pointers.data(), sets.size(), weights.data(), divisor});
  }

  std::int64_t step_count() const { return stepper_.step_count(); }
  std::int64_t steps_of(std::size_t tensor) const { return stepper_.steps().at(tensor); }

  void set_counters(std::int64_t step_count, const std::vector<std::int64_t>& steps) {
    const Exclusive lock(*this);
    if (steps.size() != params_.size()) throw std::invalid_argument("one counter a parameter");
    stepper_.set_counters(step_count, steps);
  }

  // A copy of every state (or, for an average, of every parameter), and the counters with them.
  std::tuple<std::int64_t, std::vector<std::int64_t>, std::vector<py::object>> snapshot(
      bool of_params) {
    const Exclusive lock(*this);
    std::vector<py::object> copies;
    for (const CheckedArray& checked : of_params ? params_ : states_)
      copies.push_back(checked.owner.attr("copy")("K"));
    return {stepper_.step_count(), stepper_.steps(), std::move(copies)};
  }

  // The way back. `values` have the dtype and shape of what each replaces.
  void restore(std::int64_t step_count, const std::vector<std::int64_t>& steps,
               const std::vector<py::array>& values, bool of_params) {
    const Exclusive lock(*this);
    const std::vector<CheckedArray>& targets = of_params ? params_ : states_;
    if (steps.size() != params_.size() || values.size() != targets.size())
      throw std::invalid_argument("restore: one counter a parameter, one value an array");
    of_params ? check_params() : check_states();
    const py::object copy = py::module_::import("numpy").attr("copyto");
    for (std::size_t k = 0; k < values.size(); ++k)
      copy(targets[k].owner, values[k], py::arg("casting") = "equiv");
    stepper_.set_counters(step_count, steps);
  }

 private:
  // Lets go of a call's gradients, however the call ends.
  class Release {
   public:
    explicit Release(Gradients& gradients) : gradients_(gradients) {}
    ~Release() { gradients_.clear(); }
    Release(const Release&) = delete;
    Release& operator=(const Release&) = delete;

   private:
    Gradients& gradients_;
  };

  Group make_group(const std::vector<double>& scalars, unsigned variant, double weight_decay,
                   bool maximize) const {
    const RuleInfo& rule = stepper_.rule();
    if (scalars.size() != rule.scalars.size() || variant >> rule.flags.size() != 0)
      throw std::invalid_argument("a group has the scalars and flags of its rule");
    Group group;
    std::copy(scalars.begin(), scalars.end(), group.scalars.begin());
    group.variant = variant;
    group.weight_decay = weight_decay;
    group.maximize = maximize;
    return group;
  }

  // What add() has checked and not yet made its own.
  struct Addition {
    std::vector<Tensor> tensors;
    std::vector<CheckedArray> params, states;
    Occupied occupied;
  };

  void check_entry(const std::string& name, py::handle param, const std::vector<py::object>& states,
                   std::size_t group, Addition& addition) const {
    const std::size_t index = params_.size() + addition.params.size();
    const Subject subject{"parameter", name};
    const CheckedArray& target =
        addition.params.emplace_back(check_numbers(param, subject, /*writeable=*/true));
    const auto claim = [&](const CheckedArray& array, const Subject& what, std::size_t slot) {
      refuse_overlap(addition.occupied, array, what, addition.tensors);
      addition.occupied.insert(array.extent(), index * kSlots + slot);
    };
    Tensor& tensor = addition.tensors.emplace_back(
        Tensor{name, target.data, target.size, target.dtype, {}, group});
    claim(target, subject, 0);
    const States& names = stepper_.rule().states[stepper_.groups().at(group).variant];
    std::size_t given = 0;
    for (std::size_t k = 0; k < names.size(); ++k) {
      if (!names.state[k].used) continue;
      if (given == states.size()) throw std::invalid_argument("a state is missing");
      const std::string role = std::string(names.state[k].name) + " of";
      const Subject what{role.c_str(), name};
      const CheckedArray& state = addition.states.emplace_back(
          check_companion(states[given++], target, what, /*writeable=*/true));
      claim(state, what, 1 + k);
      tensor.state[k] = state.data;
    }
    if (given != states.size()) throw std::invalid_argument("a state too many");
  }

  // `coming`: tensors that add() has not handed over yet.
  void refuse_overlap(const Occupied& occupied, const CheckedArray& array, const Subject& subject,
                      const std::vector<Tensor>& coming) const {
    const Occupied::Range* const other = occupied.find(array.extent());
    if (other == nullptr) return;
    const std::size_t index = other->owner / kSlots, slot = other->owner % kSlots;
    const std::size_t here = stepper_.tensors().size();
    const Tensor& owner = index < here ? stepper_.tensors()[index] : coming[index - here];
    const std::string role =
        slot == 0 ? "parameter"
                  : std::string(stepper_.rule().states[0].state[slot - 1].name) + " of";
    throw py::value_error(subject.text() +
                          ": expected memory of its own, came memory that overlaps " +
                          Subject{role.c_str(), owner.name}.text());
  }

  // Takes the `sets`-th gradient of every parameter.
  void collect(py::handle gradients, std::size_t set, std::size_t set_count, Gradients& out) {
    // A tuple: nobody can change it while we look through it.
    const auto items = py::reinterpret_steal<py::tuple>(PySequence_Tuple(gradients.ptr()));
    if (!items) throw py::error_already_set();
    const std::size_t count = items.size();
    if (count != params_.size())
      throw py::value_error("gradients: expected one a parameter (" +
                            std::to_string(params_.size()) + "), came " + std::to_string(count));
    out.present = true;
    out.arrays.resize(count * set_count);
    out.pointers.resize(count * set_count, nullptr);
    for (std::size_t i = 0; i < count; ++i) {
      const py::handle item = items[i];
      if (item.is_none()) continue;
      const Subject subject = gradient_subject(i);
      CheckedArray& checked = out.arrays[i * set_count + set];
      if (!take_twin(item, params_[i], checked))
        checked = check_companion(item, params_[i], subject, /*writeable=*/false);
      out.foreign = out.foreign || checked.source;
      // Allocators give the same place again and again.
      if (apart_[i] != checked.data) refuse_overlap(occupied_, checked, subject, {});
      apart_[i] = checked.data;
      // An empty array may have no address, and null means None.
      out.pointers[i * set_count + set] = checked.size == 0 ? params_[i].owner.ptr() : checked.data;
    }
  }

  void check_all_or_none(std::size_t i, std::size_t set_count) const {
    const void* const* first = passed_.pointers.data() + i * set_count;
    for (std::size_t k = 1; k < set_count; ++k)
      if ((first[k] == nullptr) != (first[0] == nullptr))
        throw py::value_error(gradient_subject(i).text() +
                              ": expected in every gradient set or in none, came None in set " +
                              std::to_string(first[k] == nullptr ? k : 0) + " but not in set " +
                              std::to_string(first[k] == nullptr ? 0 : k));
  }

  // A __dlpack__ is anybody's code, and may have changed an array that was checked before it.
  void check_collected(const Gradients& gradients, std::size_t set_count) const {
    if (gradients.foreign) check_gradients(gradients, set_count);
  }

  void check_gradients(const Gradients& gradients, std::size_t set_count) const {
    for (std::size_t i = 0; i < gradients.arrays.size(); ++i)
      if (gradients.pointers[i] != nullptr)
        check_unchanged(gradients.arrays[i], gradient_subject(i / set_count), false);
  }

  Subject gradient_subject(std::size_t tensor) const {
    return {gradient_.c_str(), stepper_.tensors()[tensor].name, like_.c_str()};
  }

  void check_params() const {
    for (std::size_t i = 0; i < params_.size(); ++i)
      check_unchanged(params_[i], {"parameter", stepper_.tensors()[i].name}, true);
  }

  // Steps trust the states, whose memory is ours; a user may still have locked the views of them.
  void check_states() const {
    std::size_t at = 0;
    for (const Tensor& tensor : stepper_.tensors()) {
      const States& names = stepper_.rule().states[stepper_.groups()[tensor.group].variant];
      for (std::size_t k = 0; k < names.size(); ++k) {
        const std::string role = std::string(names.state[k].name) + " of";
        if (names.state[k].used) check_unchanged(states_[at++], {role.c_str(), tensor.name}, true);
      }
    }
  }

  void execute(const GradientSets& gradients) {
    check_params();
    stepper_.prepare(gradients);
    const py::gil_scoped_release unlocked;
    stepper_.run();
  }

  Stepper stepper_;
  std::string gradient_, like_;
  std::vector<CheckedArray> params_;
  std::vector<CheckedArray> states_;
  Occupied occupied_;
  std::vector<const void*> apart_;  // where each tensor's last gradient lay, apart from all these
  Gradients bound_, passed_;
  std::atomic<bool> busy_{false};
};

}  // namespace

void bind_stepper(py::module_& m) {
  py::class_<PyStepper>(m, "Stepper", "Parameters, their state and their counters under one rule.")
      .def(py::init<const std::string&, std::string, std::string>(), py::arg("rule"),
           py::arg("gradient") = "gradient of", py::arg("like") = "its parameter")
      .def("add_group", &PyStepper::add_group, py::arg("scalars"), py::arg("variant"),
           py::arg("weight_decay"), py::arg("maximize"))
      .def("set_group", &PyStepper::set_group, py::arg("index"), py::arg("scalars"),
           py::arg("variant"), py::arg("weight_decay"), py::arg("maximize"))
      .def("add", &PyStepper::add, py::arg("entries"))
      .def("bind", &PyStepper::bind, py::arg("gradients"))
      .def("step", &PyStepper::step, py::arg("gradients") = py::none())
      .def("step_combined", &PyStepper::step_combined, py::arg("sets"), py::arg("weights"),
           py::arg("divisor"))
      .def("set_counters", &PyStepper::set_counters, py::arg("step_count"), py::arg("steps"))
      .def("snapshot", &PyStepper::snapshot, py::arg("of_params") = false)
      .def("restore", &PyStepper::restore, py::arg("step_count"), py::arg("steps"),
           py::arg("values"), py::arg("of_params") = false)
      .def("steps_of", &PyStepper::steps_of, py::arg("tensor"))
      .def_property_readonly("step_count", &PyStepper::step_count);
}

}  // namespace fusedstep::bindings
