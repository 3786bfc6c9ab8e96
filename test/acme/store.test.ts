import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Store } from '../../src/acme/store.ts'
import { temporary } from './support.ts'

const DIRECTORY = 'https://authority.example/directory'

const modeOf = (path: string): number => statSync(path).mode & 0o777

test('only this user may read what is kept, also in a folder that is there already', (t) => {
  const folder = temporary(t)
  const store = new Store(folder, DIRECTORY)
  mkdirSync(store.folder, { mode: 0o755 })
  chmodSync(store.folder, 0o755)
  store.open()
  store.write({ account: true }, 'key')
  store.write({ name: 'a.example' }, 'pair')
  assert.equal(modeOf(store.folder), 0o700)
  const files = readdirSync(store.folder).sort()
  assert.deepEqual(files, ['.gitignore', 'a.example.pem', 'account.key'])
  for (const file of files) assert.equal(modeOf(join(store.folder, file)), 0o600)
  // What lies in a repository is not committed.
  assert.equal(readFileSync(join(store.folder, '.gitignore'), 'utf8'), '*\n')
})

test('what is written is read, and what is not there is null', (t) => {
  const store = new Store(temporary(t), DIRECTORY)
  store.open()
  assert.equal(store.read({ name: 'a.example' }), null)
  store.write({ name: 'a.example' }, 'one')
  store.write({ name: 'a.example' }, 'two')
  assert.equal(store.read({ name: 'a.example' }), 'two')
  assert.equal(store.read({ account: true }), null)
})

test('a file that is read while it is written is the old one; one that cannot be written leaves nothing', (t) => {
  const store = new Store(temporary(t), DIRECTORY)
  store.open()
  store.write({ name: 'a.example' }, 'old')
  const before = statSync(store.pathOf({ name: 'a.example' })).ino
  store.write({ name: 'a.example' }, 'new')
  // Another file has taken its place.
  assert.notEqual(statSync(store.pathOf({ name: 'a.example' })).ino, before)
  mkdirSync(store.pathOf({ name: 'b.example' }))
  assert.throws(() => store.write({ name: 'b.example' }, 'x'), /EISDIR|ENOTEMPTY|EEXIST|EPERM/)
  assert.throws(() => store.read({ name: 'b.example' }), /EISDIR/)
  assert.deepEqual(readdirSync(store.folder).sort(), ['.gitignore', 'a.example.pem', 'b.example.pem'])
})

test('each authority has a folder of its own', (t) => {
  const folder = temporary(t)
  const folders = [DIRECTORY, 'https://authority.example/staging', 'https://127.0.0.1:14000/dir/'].map(
    (directory) => new Store(folder, directory).folder,
  )
  const expected = ['authority.example_directory', 'authority.example_staging', '127.0.0.1_14000_dir']
  assert.deepEqual(
    folders,
    expected.map((name) => join(folder, name)),
  )
})

test('a folder that cannot be made: the error says where it was, and what to do', (t) => {
  const file = join(temporary(t), 'file')
  writeFileSync(file, '')
  assert.throws(
    () => new Store(join(file, 'acme'), DIRECTORY).open(),
    /^Error: acme: the folder .* cannot be used: ENOTDIR.*file.*; make it writable for this user, or set the option folder/,
  )
})
