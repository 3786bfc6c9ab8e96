export { respond, type WholeResponse } from './respond.ts'
export { wrapSink } from './wrap-sink.ts'
