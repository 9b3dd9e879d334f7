#include <pybind11/stl.h>

#include <atomic>
#include <optional>
#include <stdexcept>
#include <tuple>

#include "../overlap.hpp"
#include "../stepper.hpp"
#include "arrays.hpp"
#include "module.hpp"
#include "rows.hpp"

namespace fusedstep::bindings {
namespace {

std::size_t rule_index(const std::string& name) {
  for (std::size_t i = 0; i < registry().size(); ++i)
    if (name == registry()[i].name) return i;
  throw std::invalid_argument("no compiled rule is called '" + name + "'");
}

// The arrays of a tensor that are written: the parameter, its states, its average, its copy.
constexpr std::size_t kAverage = 1 + kMaxStates, kCopy = 2 + kMaxStates, kSlots = 3 + kMaxStates;

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

  // Scalars, variant, coupled decay, maximize, max_grad_norm, max_grad_value.
  using Settings = std::tuple<std::vector<double>, unsigned, double, bool, std::optional<double>,
                              std::optional<double>>;

  std::size_t add_group(const Settings& settings) {
    const Exclusive lock(*this);
    stepper_.groups().push_back(make_group(settings));
    return stepper_.groups().size() - 1;
  }

  void set_group(std::size_t index, const Settings& settings) {
    const Exclusive lock(*this);
    stepper_.groups().at(index) = make_group(settings);
  }

  // Takes back groups that were added in vain.
  void drop_groups(std::size_t left) {
    const Exclusive lock(*this);
    stepper_.groups().resize(left);
  }

  void set_policy(bool skip_nonfinite, bool error_if_nonfinite, bool clip_per_group,
                  double ema_decay) {
    const Exclusive lock(*this);
    stepper_.policy() = {skip_nonfinite, error_if_nonfinite, clip_per_group, ema_decay};
  }

  // Parameters with their states (in the order of RuleInfo.states), groups, averages and working
  // copies (or None): all or none.
  using Entry = std::tuple<std::string, py::object, std::vector<py::object>, std::size_t,
                           py::object, py::object>;
  void add(const std::vector<Entry>& entries) {
    const Exclusive lock(*this);
    Addition addition{{}, {}, {}, {}, occupied_};
    for (const Entry& entry : entries) check_entry(entry, addition);
    for (Tensor& tensor : addition.tensors) stepper_.add(std::move(tensor));
    params_.insert(params_.end(), addition.params.begin(), addition.params.end());
    states_.insert(states_.end(), addition.states.begin(), addition.states.end());
    copies_.insert(copies_.end(), addition.copies.begin(), addition.copies.end());
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

  // The step over gradients in the order of add(), or over the bound ones. None, or whether it was
  // applied and the norm of the gradients, where somebody asks for it.
  py::object step(py::handle gradients, double scale, bool zero) {
    const Exclusive lock(*this);
    if (gradients.is_none()) {
      if (!bound_.present)
        throw std::runtime_error(
            "step() without gradients: expected step(grads), or bind(grads) first");
      check_gradients(bound_, 1);
      return execute(bound_, {bound_.pointers.data(), 1, nullptr, 1.0, {scale}, zero});
    }
    const Release release(passed_);
    collect(gradients, 0, 1, passed_);
    check_collected(passed_, 1);
    return execute(passed_, {passed_.pointers.data(), 1, nullptr, 1.0, {scale}, zero});
  }

  // One step over the weighted sum of several gradient sets, divided by `divisor`.
  py::object step_combined(const std::vector<py::object>& sets, const std::vector<double>& weights,
                           double divisor, double scale, bool zero) {
    const Exclusive lock(*this);
    const Release release(passed_);
    for (std::size_t k = 0; k < sets.size(); ++k) collect(sets[k], k, sets.size(), passed_);
    for (std::size_t i = 0; i < params_.size(); ++i) check_all_or_none(i, sets.size());
    check_collected(passed_, sets.size());
    return execute(passed_,
                   {passed_.pointers.data(), sets.size(), weights.data(), divisor, {scale}, zero});
  }

  // One step over some rows of one parameter. Without rows, or frozen: None, and nothing happens.
  py::object step_rows(std::size_t tensor, py::handle indices, py::handle rows, double scale) {
    const Exclusive lock(*this);
    const std::string& name = stepper_.tensors().at(tensor).name;
    if (stepper_.rule().layerwise)
      throw py::value_error("step_rows of '" + name + "': expected an element-wise rule, came " +
                            stepper_.rule().name +
                            ", whose steps depend on norms over a whole array");
    CheckedRows checked = check_rows(indices, rows, params_[tensor], name);
    refuse_overlap(occupied_, checked.values, {"rows of", name}, {});
    check_written();
    if (checked.gradients.rows.empty() || stepper_.is_frozen(tensor)) return py::none();
    checked.gradients.tensor = tensor;
    checked.gradients.scale = {scale};
    stepper_.prepare(checked.gradients);
    return run();
  }

  void freeze(std::size_t tensor, bool frozen) {
    const Exclusive lock(*this);
    stepper_.freeze(tensor, frozen);
  }

  bool is_frozen(std::size_t tensor) const { return stepper_.is_frozen(tensor); }

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
    of_params ? check_written() : check_states();
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

  Group make_group(const Settings& settings) const {
    const auto& [scalars, variant, weight_decay, maximize, max_norm, max_value] = settings;
    const RuleInfo& rule = stepper_.rule();
    if (scalars.size() != rule.scalars.size() || variant >> rule.flags.size() != 0)
      throw std::invalid_argument("a group has the scalars and flags of its rule");
    Group group;
    std::copy(scalars.begin(), scalars.end(), group.scalars.begin());
    group.variant = variant;
    group.weight_decay = weight_decay;
    group.maximize = maximize;
    group.max_norm = max_norm;
    if (max_value) group.max_value = *max_value;
    return group;
  }

  using Copies = std::vector<std::pair<std::size_t, CheckedArray>>;  // with their tensors' numbers

  // What add() has checked and not yet made its own.
  struct Addition {
    std::vector<Tensor> tensors;
    std::vector<CheckedArray> params, states;
    Copies copies;
    Occupied occupied;
  };

  void check_entry(const Entry& entry, Addition& addition) const {
    const auto& [name, param, states, group, average, copy] = entry;
    const std::size_t index = params_.size() + addition.params.size();
    const Subject subject{"parameter", name};
    const CheckedArray target =
        addition.params.emplace_back(check_numbers(param, subject, /*writeable=*/true));
    addition.tensors.push_back({name, target.data, target.size, target.dtype, {}, group});
    Tensor& tensor = addition.tensors.back();
    const RuleInfo& rule = stepper_.rule();
    const CheckedArray model = rule.rowwise ? one_a_row(target, subject, rule.name) : target;
    if (rule.rowwise) tensor.row_size = model.size == 0 ? 0 : target.size / model.size;
    const auto claim = [&](const CheckedArray& array, const Subject& what, std::size_t slot) {
      refuse_overlap(addition.occupied, array, what, addition.tensors);
      addition.occupied.insert(array.extent(), index * kSlots + slot);
      return array.data;
    };
    const auto claim_companion = [&](const py::object& object, std::size_t slot) {
      const std::string role = role_of(slot);
      const bool of_rows = rule.rowwise && slot != kAverage;
      const Subject what{role.c_str(), name, of_rows ? "its parameter's rows" : "its parameter"};
      addition.states.push_back(
          check_companion(object, of_rows ? model : target, what, /*writeable=*/true));
      return claim(addition.states.back(), what, slot);
    };
    claim(target, subject, 0);
    const States& names = rule.states[stepper_.groups().at(group).variant];
    if (states.size() != names.used()) throw std::invalid_argument("a state too few or too many");
    for (std::size_t k = 0, given = 0; k < names.size(); ++k)
      if (names.state[k].used) tensor.state[k] = claim_companion(states[given++], 1 + k);
    if (!average.is_none()) tensor.average = claim_companion(average, kAverage);
    if (!copy.is_none()) {
      const Subject what{"working copy of", name};
      addition.copies.emplace_back(index, check_copy(copy, target, what));
      tensor.copy = static_cast<std::uint16_t*>(claim(addition.copies.back().second, what, kCopy));
    }
  }

  // What messages call the arrays of a tensor.
  std::string role_of(std::size_t slot) const {
    if (slot == 0) return "parameter";
    if (slot == kAverage) return "average of";
    if (slot == kCopy) return "working copy of";
    return std::string(stepper_.rule().states[0].state[slot - 1].name) + " of";
  }

  // `coming`: tensors that add() has not handed over yet.
  void refuse_overlap(const Occupied& occupied, const CheckedArray& array, const Subject& subject,
                      const std::vector<Tensor>& coming) const {
    const Occupied::Range* const other = occupied.find(array.extent());
    if (other == nullptr) return;
    const std::size_t index = other->owner / kSlots, slot = other->owner % kSlots;
    const std::size_t here = stepper_.tensors().size();
    const Tensor& owner = index < here ? stepper_.tensors()[index] : coming[index - here];
    const std::string role = role_of(slot);
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

  // What the step writes, but for the states: their memory is ours.
  void check_written() const {
    for (std::size_t i = 0; i < params_.size(); ++i)
      check_unchanged(params_[i], {"parameter", stepper_.tensors()[i].name}, true);
    for (const auto& [tensor, copy] : copies_)
      check_unchanged(copy, {"working copy of", stepper_.tensors()[tensor].name}, true);
  }

  // A user may still have locked the views of the states.
  void check_states() const {
    std::size_t at = 0;
    for (const Tensor& tensor : stepper_.tensors()) {
      const States& names = stepper_.rule().states[stepper_.groups()[tensor.group].variant];
      for (std::size_t k = 0; k < names.size(); ++k)
        if (names.state[k].used) check_state(states_[at++], tensor, 1 + k);
      if (tensor.average != nullptr) check_state(states_[at++], tensor, kAverage);
    }
  }

  void check_state(const CheckedArray& state, const Tensor& tensor, std::size_t slot) const {
    const std::string role = role_of(slot);
    check_unchanged(state, {role.c_str(), tensor.name}, true);
  }

  // Gradients that are to be zeroed must be writeable, and nobody else's.
  void check_zeroable(const Gradients& gradients, std::size_t set_count) const {
    Occupied seen;
    for (std::size_t i = 0; i < gradients.arrays.size(); ++i) {
      if (gradients.pointers[i] == nullptr) continue;
      const CheckedArray& array = gradients.arrays[i];
      const Subject subject = gradient_subject(i / set_count);
      check_unchanged(array, subject, /*writeable=*/true);
      if (const Occupied::Range* const other = seen.find(array.extent()))
        throw py::value_error(subject.text() +
                              ": expected memory of its own, since zero_grads, came memory that "
                              "overlaps " +
                              gradient_subject(other->owner / set_count).text());
      seen.insert(array.extent(), i);
    }
  }

  py::object execute(const Gradients& gradients, const GradientSets& sets) {
    check_written();
    if (sets.zero) check_zeroable(gradients, sets.set_count);
    stepper_.prepare(sets);
    return run();
  }

  py::object run() {
    Outcome outcome;
    {
      const py::gil_scoped_release unlocked;
      outcome = stepper_.run();
    }
    if (outcome.nonfinite && stepper_.policy().error_if_nonfinite) {
      const std::string what = gradient_subject(*outcome.nonfinite).text() +
                               ": expected finite numbers, since error_if_nonfinite, came NaN or "
                               "infinity";
      PyErr_SetString(PyExc_FloatingPointError, what.c_str());
      throw py::error_already_set();
    }
    if (!outcome.grad_norm) return py::none();
    return py::make_tuple(outcome.applied, *outcome.grad_norm);
  }

  Stepper stepper_;
  std::string gradient_, like_;
  std::vector<CheckedArray> params_;
  std::vector<CheckedArray> states_;  // of each tensor, and its average
  Copies copies_;
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
      .def("add_group", &PyStepper::add_group, py::arg("settings"))
      .def("set_group", &PyStepper::set_group, py::arg("index"), py::arg("settings"))
      .def("drop_groups", &PyStepper::drop_groups, py::arg("left"))
      .def("set_policy", &PyStepper::set_policy, py::arg("skip_nonfinite"),
           py::arg("error_if_nonfinite"), py::arg("clip_per_group"), py::arg("ema_decay"))
      .def("add", &PyStepper::add, py::arg("entries"))
      .def("bind", &PyStepper::bind, py::arg("gradients"))
      .def("step", &PyStepper::step, py::arg("gradients") = py::none(), py::arg("scale") = 1.0,
           py::arg("zero") = false)
      .def("step_combined", &PyStepper::step_combined, py::arg("sets"), py::arg("weights"),
           py::arg("divisor"), py::arg("scale") = 1.0, py::arg("zero") = false)
      .def("step_rows", &PyStepper::step_rows, py::arg("tensor"), py::arg("indices"),
           py::arg("rows"), py::arg("scale") = 1.0)
      .def("freeze", &PyStepper::freeze, py::arg("tensor"), py::arg("frozen"))
      .def("is_frozen", &PyStepper::is_frozen, py::arg("tensor"))
      .def("set_counters", &PyStepper::set_counters, py::arg("step_count"), py::arg("steps"))
      .def("snapshot", &PyStepper::snapshot, py::arg("of_params") = false)
      .def("restore", &PyStepper::restore, py::arg("step_count"), py::arg("steps"),
           py::arg("values"), py::arg("of_params") = false)
      .def("steps_of", &PyStepper::steps_of, py::arg("tensor"))
      .def_property_readonly("step_count", &PyStepper::step_count);
}

}  // namespace fusedstep::bindings
