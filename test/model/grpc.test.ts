import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  GRPC_STATUS,
  grpcMessage,
  isGrpcType,
  judgedStatus,
  readGrpcStatus,
  readGrpcTimeout,
} from '../../src/model/grpc.ts'
import { PACKAGE_ROOT } from '../support/script.ts'

test('grpc-timeout: one to eight digits and a unit, in whole ms, at least 1', () => {
  const read = ['1H', '2M', '3S', '4m', '1500u', '99999999n', '1n', '0m', '99999999H'].map(readGrpcTimeout)
  assert.deepEqual(read, [3_600_000, 120_000, 3000, 4, 2, 100, 1, 1, 359_999_996_400_000])
})

test('a malformed grpc-timeout', () => {
  for (const text of ['', '1', 'S', '123456789S', '-1S', '1.5S', '1s', '1 S', ' 1S', '1S\n', '٣S', '1SS']) {
    assert.equal(readGrpcTimeout(text), -1, JSON.stringify(text))
  }
})

test('Content-Type of gRPC, and of others', () => {
  const grpc = ['application/grpc', 'application/grpc+proto', 'Application/GRPC;charset=x', 'application/grpc ; a=b']
  const others = [
    'application/grpc-web',
    'application/grpc-web+proto',
    'application/grpcx',
    'text/plain',
    '',
    undefined,
  ]
  assert.deepEqual(grpc.map(isGrpcType), [true, true, true, true])
  assert.deepEqual(others.map(isGrpcType), [false, false, false, false, false, false])
})

test('grpc-message is percent-encoded', () => {
  assert.equal(grpcMessage('50% of ü\n~ "x"'), '50%25 of %C3%BC%0A~ "x"')
})

test('grpc-status is a number, or unknown', () => {
  assert.deepEqual(['0', '14', '', '-1', '1e1', 'x', undefined].map(readGrpcStatus), [
    0,
    14,
    null,
    null,
    null,
    null,
    null,
  ])
})

test('a backend that is not well is judged by an HTTP status', () => {
  const judged = [null, 0, 2, 4, 8, 13, 14].map((grpcStatus) => judgedStatus({ status: 200, grpcStatus }))
  assert.deepEqual(judged, [200, 200, 200, 200, 503, 500, 503])
})

test('docs/grpc.md has the status of each error that a call can meet', () => {
  const document = readFileSync(join(PACKAGE_ROOT, 'docs/grpc.md'), 'utf8')
  const documented: Record<string, number> = {}
  for (const [, codes = '', status] of document.matchAll(/^\| (`[A-Z].*?) \| (\d+) [A-Z_]+ \|$/gm)) {
    for (const [, code] of codes.matchAll(/`([A-Z_]+)`/g)) documented[`ERR_PROXY_${code}`] = Number(status)
  }
  const met = Object.entries(GRPC_STATUS).filter(([code]) => !/_(?:UPGRADE.*|THREADS|CONNECTION_LIMIT)$/.test(code))
  assert.deepEqual(documented, Object.fromEntries(met))
})
