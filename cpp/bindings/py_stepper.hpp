// An engine that owns references to its arrays and admits one thread at a time.
#pragma once

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "assignments.hpp"
#include "exclusive.hpp"
#include "gradients.hpp"
#include "members.hpp"
#include "rows.hpp"
#include "saved.hpp"
#include "swapped.hpp"
#include "unlocked.hpp"

namespace fusedstep::bindings {

template <class Space>
class PyStepper {
 public:
  using ScaleArgument = typename Space::ScaleArgument;
  using Values = py::typing::Callable<py::typing::List<py::object>(std::vector<std::int64_t>)>;
  using Read = py::typing::Callable<py::object(std::int64_t, std::vector<std::int64_t>,
                                               std::vector<py::array>, std::vector<py::array>)>;

  // `gradient` and `target` are the names in messages of a gradient and of what a step updates.
  PyStepper(const std::string& rule, std::string gradient, std::string target, Space space = {})
      : members_(rule, gradient, std::move(target), std::move(space)) {}

  // Adds groups and their tensors, whose specs refer to these groups; releases bound gradients. All
  // or none, as every call, and with it the `assignments`.
  void add(const std::vector<GroupOptions>& options, const std::vector<TensorSpec>& specs,
           const Assignments& assignments) {
    const Entered lock(*this);
    std::vector<Group> groups;
    for (const GroupOptions& own : options) groups.push_back(group_of(engine_.rule(), own));
    members_.add(groups, options, specs);
    assign_all(assignments);
    bound_.reset();
    passed_.reset();
  }

  std::size_t tensor_count() const { return members_.params.size(); }

  void set_group(std::size_t index, const GroupOptions& options, const Assignments& assignments) {
    const Entered lock(*this);
    const Group group = group_of(engine_.rule(), options);
    members_.check_group(group, index, engine_.tensors());
    engine_.groups().at(index) = group;
    members_.space.groups_changed(engine_);
    assign_all(assignments);
  }

  void set_groups(const std::vector<GroupOptions>& options, const Assignments& assignments) {
    const Entered lock(*this);
    replace_groups(make_groups(options));
    assign_all(assignments);
  }

  // The learning rates of some groups for the next step, all or none. A rule may have none: its
  // states started from it. Without assignments it is part of a step.
  void set_rates(const std::vector<std::size_t>& groups, const std::vector<double>& rates,
                 const Assignments& assignments) {
    const Entered lock(*this, assignments.empty() ? Call::step : Call::other);
    const RuleInfo& rule = engine_.rule();
    const std::size_t lr = scalar_called("lr", rule);
    if (groups.size() != rates.size()) throw std::invalid_argument("rates: expected one per group");
    if (lr == rule.scalars.size()) return assign_all(assignments);
    std::vector<Group> changed;
    for (std::size_t i = 0; i < groups.size(); ++i) {
      Group& group = changed.emplace_back(engine_.groups().at(groups[i]));
      group.scalars[lr] = rates[i];
      members_.check_group(group, groups[i], engine_.tensors());
    }
    for (std::size_t i = 0; i < groups.size(); ++i) engine_.groups()[groups[i]] = changed[i];
    members_.space.groups_changed(engine_);
    assign_all(assignments);
  }

  void set_policy(bool skip_nonfinite, bool error_if_nonfinite, bool clip_per_group,
                  double ema_decay, std::uint64_t seed) {
    const Entered lock(*this);
    engine_.policy() = {skip_nonfinite, error_if_nonfinite, clip_per_group, ema_decay, seed};
  }
  using PolicyOptions = std::tuple<bool, bool, bool, double, std::uint64_t>;  // as above

  void bind(py::handle gradients, const Assignments& assignments) {
    const Entered lock(*this);
    Gradients<Space> checked;
    if (!gradients.is_none()) {
      checked.collect(gradients, 0, 1, members_);
      if (checked.ran_foreign_code()) look_again_at(checked);
      checked.require_some();
    }
    bound_ = std::move(checked);
    assign_all(assignments);
  }

  // Steps over gradients in the order of add(), or over the bound ones. Returns None, or whether
  // the step was applied and the gradient norm, if requested.
  py::object step(py::handle gradients, const ScaleArgument& scale, bool zero) {
    const Entered lock(*this, Call::step);
    swapped_.refuse("step", members_);
    if (gradients.is_none()) {
      if (!bound_.present)
        throw std::runtime_error(
            "step() without gradients: call step(grads), or bind(grads) first");
      return execute(bound_, nullptr, 1.0, scale, zero);
    }
    const OfOneCall passed(passed_);
    passed_.collect(gradients, 0, 1, members_);
    passed_.require_some();
    return execute(passed_, nullptr, 1.0, scale, zero);
  }

  // One step over the weighted sum of several gradient sets, divided by `divisor`.
  py::object step_combined(const std::vector<py::object>& sets, const std::vector<double>& weights,
                           double divisor, const ScaleArgument& scale, bool zero,
                           bool allow_empty) {
    const Entered lock(*this, Call::step);
    swapped_.refuse("step", members_);
    const OfOneCall passed(passed_);
    if (const auto misfit = misfit_of(weights, divisor))
      refuse_misfit(*misfit, Compute::float32, engine_.tensors(),
                    [](const Tensor&) { return true; });
    const std::size_t count = sets.size();
    for (std::size_t k = 0; k < count; ++k) passed_.collect(sets[k], k, count, members_);
    for (std::size_t i = 0; i < members_.params.size(); ++i) passed_.check_all_or_none(i, members_);
    if (!allow_empty) passed_.require_some();
    return execute(passed_, weights.data(), divisor, scale, zero);
  }

  // A parameter, and the indices and gradients of some of its rows.
  using Table = std::tuple<std::size_t, py::object, py::object>;

  // One step over the gradients of some parameters (None: of none) and over rows of others, in the
  // order of the parameters. None, and no change, where it does not advance and no row takes part.
  py::object step_together(py::handle gradients, const std::vector<Table>& tables,
                           const ScaleArgument& scale, bool advances) {
    const Entered lock(*this, Call::step);
    swapped_.refuse("step", members_);
    const OfOneCall passed(passed_);
    const bool has_whole = !gradients.is_none();
    if (has_whole) passed_.collect(gradients, 0, 1, members_);
    JointGradients joint;
    std::vector<typename Space::Array> kept;
    for (const auto& [tensor, indices, rows] : tables) {
      const std::string& name = engine_.tensors().at(tensor).name;
      if (engine_.rule().layerwise)
        throw py::value_error("step_rows of '" + name + "': expected an element-wise rule, got " +
                              engine_.rule().name +
                              ", whose steps depend on norms over a whole array");
      if (has_whole && passed_.sets[tensor])
        throw py::value_error("parameter '" + name +
                              "': expected either a gradient or rows in one step, got both");
      auto checked = check_rows(members_.space, indices, rows, members_.params[tensor], name);
      members_.check_row_size(tensor, checked.gradients.row_size);
      members_.refuse_overlap(checked.values, {"rows of", name});
      kept.push_back(std::move(checked.values));
      if (checked.gradients.rows.empty() || engine_.is_frozen(tensor)) continue;
      checked.gradients.tensor = tensor;
      joint.tables.push_back(std::move(checked.gradients));
    }
    joint.scale = members_.space.scale_of(scale);
    members_.ask();
    if (has_whole) {
      look_again_at(passed_);
      joint.sets = passed_.sets.data();
      joint.mixed = passed_.is_mixed;
    }
    for (std::size_t k = 0; k < kept.size(); ++k) {
      const std::size_t tensor = std::get<0>(tables[k]);
      const std::string& name = engine_.tensors()[tensor].name;
      members_.space.check_unchanged(kept[k], {"rows of", name}, /*writeable=*/false);
      members_.space.check_rows_unchanged(members_.params[tensor], {"parameter", name});
    }
    members_.check_written();
    if (!advances && joint.tables.empty()) return py::none();
    joint.advances = advances;
    return run(joint);
  }

  // Steps have not written the working copies of frozen tensors.
  void freeze(const std::vector<std::size_t>& tensors, bool frozen,
              const Assignments& assignments) {
    const Entered lock(*this);
    if (!frozen)
      members_.renew_copies(swapped_.values(), [&](std::size_t tensor) {
        return std::find(tensors.begin(), tensors.end(), tensor) != tensors.end();
      });
    for (const std::size_t tensor : tensors) engine_.freeze(tensor, frozen);
    assign_all(assignments);
  }

  bool is_frozen(std::size_t tensor) const { return engine_.is_frozen(tensor); }

  std::int64_t step_count() {
    return counters([&] { return engine_.step_count(); });
  }
  std::int64_t steps_of(std::size_t tensor) {
    return counters([&] { return engine_.steps().at(tensor); });
  }

  // Those that are None stay as they are.
  void set_counters(std::optional<std::int64_t> step_count,
                    const std::vector<std::optional<std::int64_t>>& steps) {
    const Entered lock(*this);
    if (steps.size() != members_.params.size())
      throw std::invalid_argument("steps: expected one counter per parameter");
    const bool is_whole =
        step_count && std::find(steps.begin(), steps.end(), std::nullopt) == steps.end();
    std::vector<std::int64_t> counters;
    if (!is_whole) counters = engine_.steps();
    counters.resize(steps.size());
    for (std::size_t i = 0; i < steps.size(); ++i) counters[i] = steps[i].value_or(counters[i]);
    engine_.set_counters(step_count ? *step_count : engine_.step_count(), counters);
  }

  // read(step_count, steps, states, params) while nobody else is inside, so that all belongs to the
  // same step: NumPy arrays over the states' memory and, with `params_for`, the parameters' (on a
  // device, copies). `params_for`: what their own values are for, where they may hold others.
  py::object hold(const Read& read, const std::string& params_for) {
    const Entered lock(*this);
    const Saved<Space> saved(members_);
    if (params_for.empty())
      return read(engine_.step_count(), engine_.steps(), saved.states(), std::vector<py::array>());
    swapped_.refuse(params_for.c_str(), members_);
    return read(engine_.step_count(), engine_.steps(), saved.states(), saved.params());
  }

  // Loads counters, values for the states, for the parameters unless None, the options of all
  // groups unless empty, and unless None those of the whole and which parameters are frozen: all or
  // nothing. Values have the shapes of what they replace.
  void restore(std::int64_t step_count, const std::vector<std::int64_t>& steps,
               const std::vector<py::array>& states,
               const std::optional<std::vector<py::array>>& params,
               const std::vector<GroupOptions>& options, const Assignments& assignments,
               const std::optional<PolicyOptions>& policy,
               const std::optional<std::vector<bool>>& frozen) {
    const Entered lock(*this);
    if (steps.size() != members_.params.size())
      throw std::invalid_argument("restore: expected one counter per parameter");
    if (frozen && frozen->size() != members_.params.size())
      throw std::invalid_argument("restore: expected of each parameter whether it is frozen");
    if (params) swapped_.refuse("load parameters", members_);
    std::vector<Group> groups = options.empty() ? engine_.groups() : make_groups(options);
    const Saved<Space> saved(members_);
    const std::vector<py::array> new_states = saved.ready_states(states);
    std::vector<py::array> new_params;
    if (params) {
      new_params = saved.ready_params(*params);
      members_.ask();
      members_.check_written();
    }
    members_.check_states();
    for (std::size_t k = 0; k < new_params.size(); ++k)
      members_.space.assign(members_.params[k], new_params[k]);
    members_.renew_copies(swapped_.values(), [](std::size_t) { return true; });
    for (std::size_t k = 0; k < new_states.size(); ++k)
      members_.space.assign(members_.states[k], new_states[k]);
    engine_.set_counters(step_count, steps);
    replace_groups(std::move(groups));
    if (policy) engine_.policy() = std::apply([](auto... own) { return Policy{own...}; }, *policy);
    for (std::size_t i = 0; frozen && i < frozen->size(); ++i) engine_.freeze(i, (*frozen)[i]);
    assign_all(assignments);
  }

  // Exchanges the parameters for other values: `values(steps)`, one array like each, into which the
  // parameters go. Until swap_out(), whoever steps or swaps is told `why` that cannot be.
  // `written()` is called whenever the parameters are.
  void swap_in(const std::string& what, const std::string& why, const Values& values,
               const Block::Call& written) {
    const Entered lock(*this);
    swapped_.refuse(what.c_str(), members_);
    swapped_.put(values(engine_.steps()).template cast<std::vector<py::object>>(), why, written,
                 members_);
  }

  // Gives the parameters their values back. Where that is refused, because one of them is locked,
  // it is tried again by the next call that needs it.
  void swap_out() {
    const Entered lock(*this);
    swapped_.put_back(members_);
  }

  // Why the parameters hold other values; empty where they do not.
  std::string swapped() {
    const Entered lock(*this);
    return swapped_.why();
  }

  // Of a stepper in use nothing is shown, so that what it holds counts as reachable: it is, and may
  // be changing.
  void visit(Visitor& visitor) const {
    if (!turnstile_.is_free()) return;
    members_.visit(visitor);
    bound_.visit(visitor);
    swapped_.visit(visitor);
  }

  // Whatever might still call it afterwards is refused.
  void drop() {
    if (!turnstile_.close()) return;
    members_.drop();
    bound_.reset();
    swapped_ = {};
  }

 protected:
  using Call = Turnstile::Call;

  // RAII guard of every call: nobody else is inside, and the space knows where the call runs.
  class Entered : Exclusive {
   public:
    explicit Entered(PyStepper& owner, Call call = Call::other)
        : Exclusive(owner.turnstile_, call) {
      owner.members_.space.enter(owner.engine_, owner.members_.params);
    }
  };

  Members<Space> members_;
  typename Space::Engine& engine_ = members_.engine;

 private:
  std::vector<Group> make_groups(const std::vector<GroupOptions>& options) const {
    if (options.size() != engine_.groups().size())
      throw std::invalid_argument("options: expected one per group");
    std::vector<Group> groups;
    for (std::size_t i = 0; i < options.size(); ++i) {
      groups.push_back(group_of(engine_.rule(), options[i]));
      members_.check_group(groups[i], i, engine_.tensors());
    }
    return groups;
  }

  void replace_groups(std::vector<Group> groups) {
    engine_.groups() = std::move(groups);
    members_.space.groups_changed(engine_);
  }

  void look_again_at(const Gradients<Space>& gradients) const {
    gradients.ask(members_);
    gradients.check_unchanged(members_);
  }

  py::object execute(const Gradients<Space>& gradients, const double* weights, double divisor,
                     const ScaleArgument& scale, bool zero) {
    const Scale divides = members_.space.scale_of(scale);
    const bool asked = members_.ask();
    if (gradients.ran_foreign_code() || &gradients == &bound_)
      look_again_at(gradients);
    else if (asked)
      gradients.check_unchanged(members_);
    members_.check_written();
    if (zero) gradients.check_zeroable(members_);
    return run(GradientSets{gradients.sets.data(), gradients.set_count, weights, divisor, divides,
                            zero, gradients.is_mixed});
  }

  // Releases the GIL: waiting for a device may mean waiting for another thread's Python code.
  template <class OfCall>
  py::object run(const OfCall& gradients) {
    members_.space.prepare_result(engine_);
    StepResult result;
    {
      const Unlocked unlocked;
      engine_.prepare(gradients);
      result = engine_.run();
    }
    if (result.nonfinite && engine_.policy().error_if_nonfinite) {
      const std::string what = members_.gradient_subject(*result.nonfinite).text() +
                               ": expected finite numbers, since error_if_nonfinite, got NaN or "
                               "infinity";
      PyErr_SetString(PyExc_FloatingPointError, what.c_str());
      throw py::error_already_set();
    }
    return members_.space.result(result);
  }

  // Counters that the host knows can be read at any time, even during another thread's step.
  template <class Read>
  std::int64_t counters(Read read) {
    if (members_.space.knows_counters(engine_)) return read();
    const Entered lock(*this);
    const Unlocked unlocked;
    return read();
  }

  Gradients<Space> bound_, passed_;
  Swapped<Space> swapped_;
  Turnstile turnstile_;
};

}  // namespace fusedstep::bindings
