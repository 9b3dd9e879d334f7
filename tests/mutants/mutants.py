"""The list of all mutants, and the few that every run of CI tries."""

import checkpoint_mutants
import engine_mutants
import face_mutants
import interop_mutants
import kernel_mutants
import rule_mutants
from mutant import Mutant

ALL: list[Mutant] = [
    *rule_mutants.MUTANTS,
    *kernel_mutants.MUTANTS,
    *engine_mutants.MUTANTS,
    *face_mutants.MUTANTS,
    *checkpoint_mutants.MUTANTS,
    *interop_mutants.MUTANTS,
]

# One a stage: what is saved, options, schedules; a rule, the loop, a check.
SAMPLE = {
    "counter-not-saved",
    "decay-both-coupled-and-decoupled",
    "seed-ignored",
    "schedule-read-one-step-late",
    "beta-of-1",
    "adam-bias-correction-one-step-late",
    "tail-of-the-loop-skipped",
    "read-only-check-dropped",
}
