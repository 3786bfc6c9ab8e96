export { addPrefix } from './add-prefix.ts'
export { type HeaderChanges, requestHeaders, responseHeaders } from './headers.ts'
export { stripPrefix } from './strip-prefix.ts'
