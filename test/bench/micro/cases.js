import { balancerCases } from './balancers.js'
import { groupCases } from './groups.js'
import { headCases } from './heads.js'
import { routeCases } from './routes.js'

/** By name, a function that prepares and returns the work to time; the work is given its number in the round. */
export const CASES = { ...headCases, ...routeCases, ...balancerCases, ...groupCases }
