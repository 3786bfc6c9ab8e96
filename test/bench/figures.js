/** What a scenario compares: its name, for a unit of work, and how a value of it is written. */
export const FIGURES = {
  cpu: {
    head: (unit) => `CPU per ${unit}`,
    text: (us) => `${us.toFixed(us < 100 ? 1 : 0)} us`,
  },
  memory: {
    head: (unit) => `memory per ${unit}`,
    text: (bytes) => `${(bytes / 1024).toFixed(1)} KiB`,
  },
}
