import assert from 'node:assert/strict'
import http from 'node:http'
import { after, before, describe, test } from 'node:test'
import { answerAfter } from '../../src/testing/index.ts'
import { rawClient } from '../support/raw-client.ts'
import { FRONTS, gate, rounds, runInServer } from '../support/running-proxy.ts'
import {
  breaksOff,
  endsUnserved,
  NEXT,
  passes,
  passesAndEnds,
  refuses,
  type Stage,
  stage,
  statuses,
  wire,
} from './stage.ts'

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n'
const POST = 'POST / HTTP/1.1\r\nHost: a\r\n'
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`
const EMPTY = '0\r\n\r\n'
const AB = `2\r\nab\r\n${EMPTY}`

interface Case {
  readonly rule: string
  readonly send: string
  /** What the backend gets; the connection lives on. */
  readonly sent?: string
  /** The connection ends after the answer. */
  readonly ends?: true
  /** In place of 400. */
  readonly status?: number
  /** The head is right, what follows is not. */
  readonly late?: true
}

const contentLength: Case[] = [
  {
    rule: 'Content-Length with Transfer-Encoding',
    send: `${POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n${EMPTY}`,
  },
  {
    rule: 'Transfer-Encoding with Content-Length behind it',
    send: `${POST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n${EMPTY}`,
  },
  { rule: 'several Content-Lengths that differ', send: `${POST}Content-Length: 2\r\nContent-Length: 3\r\n\r\nab` },
  { rule: 'several Content-Lengths that agree', send: `${POST}Content-Length: 2\r\nContent-Length: 2\r\n\r\nab` },
  { rule: 'a list as Content-Length', send: `${POST}Content-Length: 2, 2\r\n\r\nab` },
  { rule: 'Content-Length with a plus sign', send: `${POST}Content-Length: +2\r\n\r\nab` },
  { rule: 'Content-Length with a minus sign', send: `${POST}Content-Length: -2\r\n\r\nab` },
  { rule: 'Content-Length in hexadecimal', send: `${POST}Content-Length: 0x2\r\n\r\nab` },
  { rule: 'Content-Length with a space inside', send: `${POST}Content-Length: 1 0\r\n\r\nab` },
  { rule: 'an empty Content-Length', send: `${POST}Content-Length: \r\n\r\nab` },
  { rule: 'Content-Length over 2^64', send: `${POST}Content-Length: 18446744073709551618\r\n\r\nab` },
  { rule: 'Content-Length over 2^53', send: `${POST}Content-Length: 9007199254740993\r\n\r\nab` },
  { rule: 'Content-Length of more than 15 digits', send: `${POST}Content-Length: 0000000000000002\r\n\r\nab` },
  {
    rule: 'white space around Content-Length',
    send: `${POST}Content-Length:  2  \r\n\r\nab`,
    sent: `${POST}Content-Length: 2\r\n\r\nab`,
  },
  {
    rule: 'leading zeros in Content-Length',
    send: `${POST}Content-Length: 002\r\n\r\nab`,
    sent: `${POST}Content-Length: 2\r\n\r\nab`,
  },
  {
    rule: 'a header that CGI reads as Content-Length',
    send: `${POST}Content_Length: 5\r\n\r\n`,
    sent: `${POST}Content-Length: 0\r\n\r\n`,
  },
  {
    rule: 'a body where the method has no use for one',
    send: `${GET}Content-Length: 2\r\n\r\nab`,
    sent: `${GET}Content-Length: 2\r\n\r\nab`,
  },
]

const transferEncoding: Case[] = [
  { rule: 'Transfer-Encoding with a letter more', send: `${POST}Transfer-Encoding: xchunked\r\n\r\n${EMPTY}` },
  { rule: 'Transfer-Encoding: identity', send: `${POST}Transfer-Encoding: identity\r\n\r\n` },
  { rule: 'an unknown coding alone', send: `${POST}Transfer-Encoding: gzip\r\n\r\n` },
  { rule: 'an unknown coding before chunked', send: `${POST}Transfer-Encoding: gzip, chunked\r\n\r\n${EMPTY}` },
  { rule: 'chunked not last', send: `${POST}Transfer-Encoding: chunked, gzip\r\n\r\n${EMPTY}` },
  { rule: 'chunked twice in a list', send: `${POST}Transfer-Encoding: chunked, chunked\r\n\r\n${EMPTY}` },
  {
    rule: 'chunked in two lines',
    send: `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n${EMPTY}`,
  },
  {
    rule: 'a second Transfer-Encoding behind chunked',
    send: `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n${EMPTY}`,
  },
  {
    rule: 'a second Transfer-Encoding before chunked',
    send: `${POST}Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n${EMPTY}`,
  },
  { rule: 'an empty member before chunked', send: `${POST}Transfer-Encoding: ,chunked\r\n\r\n${EMPTY}` },
  { rule: 'an empty member behind chunked', send: `${POST}Transfer-Encoding: chunked,\r\n\r\n${EMPTY}` },
  { rule: 'chunked in quotes', send: `${POST}Transfer-Encoding: "chunked"\r\n\r\n${EMPTY}` },
  { rule: 'chunked with a parameter', send: `${POST}Transfer-Encoding: chunked;q=1\r\n\r\n${EMPTY}` },
  { rule: 'an empty Transfer-Encoding', send: `${POST}Transfer-Encoding:\r\n\r\n${EMPTY}` },
  {
    rule: 'an empty Transfer-Encoding with Content-Length',
    send: `${POST}Transfer-Encoding:\r\nContent-Length: 2\r\n\r\nab`,
  },
  { rule: 'a vertical tab before chunked', send: `${POST}Transfer-Encoding: \vchunked\r\n\r\n${EMPTY}` },
  { rule: 'chunked on a folded line', send: `${POST}Transfer-Encoding:\r\n chunked\r\n\r\n${EMPTY}` },
  { rule: 'Transfer-Encoding behind a bare LF', send: `${POST}X: y\nTransfer-Encoding: chunked\r\n\r\n${EMPTY}` },
  { rule: 'Transfer-Encoding behind a bare CR', send: `${POST}X: y\rTransfer-Encoding: chunked\r\n\r\n${EMPTY}` },
  { rule: 'a space behind the name Transfer-Encoding', send: `${POST}Transfer-Encoding : chunked\r\n\r\n${EMPTY}` },
  {
    rule: 'Transfer-Encoding in HTTP/1.0',
    send: `POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${EMPTY}`,
  },
  {
    rule: 'Transfer-Encoding in HTTP/1.0 with keep-alive',
    send: `POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n${EMPTY}`,
  },
  {
    rule: 'a header that CGI reads as Transfer-Encoding',
    send: `${POST}Transfer_Encoding: chunked\r\n\r\n`,
    sent: `${POST}Content-Length: 0\r\n\r\n`,
  },
  { rule: 'chunked in capitals', send: `${POST}Transfer-Encoding: CHUNKED\r\n\r\n${EMPTY}`, sent: CHUNKED + EMPTY },
]

const chunks: Case[] = [
  { rule: 'a chunk size over 2^64', send: `${CHUNKED}10000000000000002\r\nab\r\n${EMPTY}`, late: true },
  { rule: 'a chunk size with a plus sign', send: `${CHUNKED}+2\r\nab\r\n${EMPTY}`, late: true },
  { rule: 'a chunk size with a minus sign', send: `${CHUNKED}-2\r\nab\r\n${EMPTY}`, late: true },
  { rule: 'a chunk size with 0x', send: `${CHUNKED}0x2\r\nab\r\n${EMPTY}`, late: true },
  { rule: 'a chunk size with an underscore', send: `${CHUNKED}0_2\r\nab\r\n${EMPTY}`, late: true },
  { rule: 'a chunk size with a space before it', send: `${CHUNKED} 2\r\nab\r\n${EMPTY}`, late: true },
  { rule: 'a chunk size with a space behind it', send: `${CHUNKED}2 \r\nab\r\n${EMPTY}`, late: true },
  { rule: 'a chunk size with a tab behind it', send: `${CHUNKED}2\t\r\nab\r\n${EMPTY}`, late: true },
  { rule: 'no chunk size', send: `${CHUNKED}\r\nab\r\n${EMPTY}`, late: true },
  { rule: 'a chunk extension without a size', send: `${CHUNKED};a\r\nab\r\n${EMPTY}`, late: true },
  { rule: 'a chunk size ended by LF', send: `${CHUNKED}2\nab\r\n${EMPTY}`, late: true },
  { rule: 'a chunk size ended by CR', send: `${CHUNKED}2\rab\r\n${EMPTY}`, late: true },
  { rule: 'a bare LF in a chunk extension', send: `${CHUNKED}2;a\nab\r\n${EMPTY}`, late: true },
  { rule: 'a bare CR in a chunk extension', send: `${CHUNKED}2;a\rX\r\nab\r\n${EMPTY}`, late: true },
  { rule: 'NUL in a chunk extension', send: `${CHUNKED}2;a\0\r\nab\r\n${EMPTY}`, late: true },
  { rule: 'CRLF in a quoted chunk extension', send: `${CHUNKED}2;a="\r\nab\r\n${EMPTY}`, late: true },
  {
    rule: 'chunk extensions without end',
    send: `${CHUNKED}2;a=${'x'.repeat(20_000)}\r\nab\r\n${EMPTY}`,
    status: 413,
    late: true,
  },
  { rule: 'a chunk longer than its size', send: `${CHUNKED}2\r\nabXX${EMPTY}`, late: true },
  { rule: 'no CRLF behind a chunk', send: `${CHUNKED}2\r\nab${EMPTY}`, late: true },
  { rule: 'LF behind a chunk', send: `${CHUNKED}2\r\nab\n${EMPTY}`, late: true },
  { rule: 'a last chunk ended by LF', send: `${CHUNKED}2\r\nab\r\n0\n\n`, late: true },
  { rule: 'LF in place of the empty line behind the last chunk', send: `${CHUNKED}2\r\nab\r\n0\r\n\n`, late: true },
  { rule: 'a trailer without a colon', send: `${CHUNKED}2\r\nab\r\n0\r\nX-A\r\n\r\n`, late: true },
  { rule: 'a trailer with a space before the colon', send: `${CHUNKED}2\r\nab\r\n0\r\nX-A : b\r\n\r\n`, late: true },
  { rule: 'a folded trailer', send: `${CHUNKED}2\r\nab\r\n0\r\nX-A: b\r\n c\r\n\r\n`, late: true },
  { rule: 'a bare LF in a trailer', send: `${CHUNKED}2\r\nab\r\n0\r\nX-A: b\nX-B: c\r\n\r\n`, late: true },
  { rule: 'NUL in a trailer', send: `${CHUNKED}2\r\nab\r\n0\r\nX-A: \0\r\n\r\n`, late: true },
  { rule: 'a request in place of trailers', send: `${CHUNKED}2\r\nab\r\n0\r\nGET /evil HTTP/1.1\r\n\r\n`, late: true },
  { rule: 'a Content-Length in the trailers', send: `${CHUNKED}2\r\nab\r\n0\r\nContent-Length: 5\r\n\r\n`, late: true },
  {
    rule: 'trailers without end',
    send: `${CHUNKED}2\r\nab\r\n0\r\nX-A: ${'x'.repeat(20_000)}\r\n\r\n`,
    status: 431,
    late: true,
  },
  { rule: 'chunk extensions are not passed on', send: `${CHUNKED}2;a=b;c="d"\r\nab\r\n${EMPTY}`, sent: CHUNKED + AB },
  {
    rule: 'leading zeros of a chunk size are not passed on',
    send: `${CHUNKED}0000000002\r\nab\r\n${EMPTY}`,
    sent: CHUNKED + AB,
  },
  {
    rule: 'a trailer that names a host or a client is not passed on',
    send: `${CHUNKED}2\r\nab\r\n0\r\nHost: b\r\nX_Forwarded_For: 1\r\nX-Real-IP: 1\r\nProxy: x\r\nx.forwarded.user: b\r\nX-A: b\r\n\r\n`,
    sent: `${CHUNKED}2\r\nab\r\n0\r\nX-A: b\r\n\r\n`,
  },
  {
    rule: 'a trailer that Connection nominates is not passed on',
    send: `${POST}Connection: keep-alive, X-Hop\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-hop: 1\r\nX-A: b\r\n\r\n`,
    sent: `${CHUNKED}2\r\nab\r\n0\r\nX-A: b\r\n\r\n`,
  },
]

const fields: Case[] = [
  { rule: 'a bare CR in a value', send: `${GET}X: a\rb\r\n\r\n` },
  { rule: 'a bare LF in a value', send: `${GET}X: a\nY: b\r\n\r\n` },
  { rule: 'lines that end with LF alone', send: 'GET / HTTP/1.1\nHost: a\n\n' },
  { rule: 'an empty line that is LF alone', send: `${GET}\n` },
  { rule: 'a line that ends with CR CR LF', send: 'GET / HTTP/1.1\r\nHost: a\r\r\n\r\n' },
  { rule: 'a line folded with a space', send: `${GET}X: a\r\n b\r\n\r\n` },
  { rule: 'a line folded with a tab', send: `${GET}X: a\r\n\tb\r\n\r\n` },
  { rule: 'white space before the first header', send: 'GET / HTTP/1.1\r\n X: b\r\nHost: a\r\n\r\n' },
  { rule: 'NUL in a value', send: `${GET}X: a\0b\r\n\r\n` },
  { rule: 'a control character in a value', send: `${GET}X: a\x01b\r\n\r\n` },
  { rule: 'DEL in a value', send: `${GET}X: a\x7fb\r\n\r\n` },
  { rule: 'NUL in a name', send: `${GET}X\0: a\r\n\r\n` },
  { rule: 'a byte beyond ASCII in a name', send: `${GET}X\xe9: a\r\n\r\n` },
  { rule: 'a delimiter in a name', send: `${GET}X(: a\r\n\r\n` },
  { rule: 'a space in a name', send: `${GET}X Y: a\r\n\r\n` },
  { rule: 'a space before the colon', send: `${GET}X : a\r\n\r\n` },
  { rule: 'a tab before the colon', send: `${GET}X\t: a\r\n\r\n` },
  { rule: 'an empty name', send: `${GET}: a\r\n\r\n` },
  { rule: 'a line without a colon', send: `${GET}X\r\n\r\n` },
  {
    rule: 'a tab and bytes beyond ASCII in a value',
    send: `${GET}X: a\t\x80\xff\r\n\r\n`,
    sent: `${GET}X: a\t\x80\xff\r\n\r\n`,
  },
]

const hosts: Case[] = [
  { rule: 'no Host', send: 'GET / HTTP/1.1\r\n\r\n' },
  { rule: 'two Hosts that differ', send: 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n' },
  { rule: 'two Hosts that agree', send: 'GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n' },
  { rule: 'two Hosts in HTTP/1.0', send: 'GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n' },
  { rule: 'a space before the colon of Host', send: 'GET / HTTP/1.1\r\nHost : a\r\n\r\n' },
  { rule: 'an empty Host', send: 'GET / HTTP/1.1\r\nHost:\r\n\r\n' },
  { rule: 'a Host of more than 255 bytes', send: `GET / HTTP/1.1\r\nHost: ${'a.'.repeat(128)}\r\n\r\n` },
  { rule: 'a list as Host', send: 'GET / HTTP/1.1\r\nHost: a, b\r\n\r\n' },
  { rule: 'a list without a space as Host', send: 'GET / HTTP/1.1\r\nHost: a,b\r\n\r\n' },
  { rule: 'a Host with user information', send: 'GET / HTTP/1.1\r\nHost: u@a\r\n\r\n' },
  { rule: 'a Host with a path', send: 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n' },
  { rule: 'a Host with a query', send: 'GET / HTTP/1.1\r\nHost: a?b\r\n\r\n' },
  { rule: 'a Host with a space', send: 'GET / HTTP/1.1\r\nHost: a b\r\n\r\n' },
  { rule: 'a Host with a port that is no number', send: 'GET / HTTP/1.1\r\nHost: a:x\r\n\r\n' },
  { rule: 'a Host with two ports', send: 'GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n' },
  { rule: 'a Host with an open bracket', send: 'GET / HTTP/1.1\r\nHost: [::1\r\n\r\n' },
  { rule: 'a Host beyond ASCII', send: 'GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n' },
  {
    rule: 'a Host that is an IPv6 address',
    send: 'GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n',
    sent: 'GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n',
  },
  {
    rule: 'the host of an absolute target replaces Host',
    send: 'GET http://b:1/x?y HTTP/1.1\r\nHost: a\r\n\r\n',
    sent: 'GET /x?y HTTP/1.1\r\nHost: b:1\r\n\r\n',
  },
  { rule: 'an absolute target without Host', send: 'GET http://b/ HTTP/1.1\r\n\r\n' },
  { rule: 'an absolute target with an invalid Host', send: 'GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n' },
  { rule: 'an absolute target with an invalid host', send: 'GET http://b,c/ HTTP/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'an absolute target without a host', send: 'GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'an absolute target with user information', send: 'GET http://u:p@b/ HTTP/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'an absolute target of another scheme', send: 'GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n' },
]

const targets: Case[] = [
  { rule: 'a space in the target', send: 'GET /a b HTTP/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'a tab in the target', send: 'GET /\t HTTP/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'a bare CR in the target', send: 'GET /\r HTTP/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'NUL in the target', send: 'GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'a byte beyond ASCII in the target', send: 'GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'a fragment in the target', send: 'GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'a backslash in the path', send: 'GET /a\\..\\b HTTP/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'a target that is no path', send: 'GET a HTTP/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'a target that is a query alone', send: 'GET ?x HTTP/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'the target * for another method than OPTIONS', send: 'GET * HTTP/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'an authority as the target of another method than CONNECT', send: 'GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'CONNECT', send: 'CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n' },
  { rule: 'a method in small letters', send: 'get / HTTP/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'an unknown method', send: 'FOO / HTTP/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'a delimiter in the method', send: 'G@T / HTTP/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'the preface of HTTP/2', send: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' },
  { rule: 'HTTP/0.9', send: 'GET /\r\n' },
  { rule: 'HTTP/0.9 by name', send: 'GET / HTTP/0.9\r\nHost: a\r\n\r\n' },
  { rule: 'HTTP/1.2', send: 'GET / HTTP/1.2\r\nHost: a\r\n\r\n' },
  { rule: 'HTTP/2.0', send: 'GET / HTTP/2.0\r\nHost: a\r\n\r\n' },
  { rule: 'a version with more digits', send: 'GET / HTTP/01.1\r\nHost: a\r\n\r\n' },
  { rule: 'http in small letters', send: 'GET / http/1.1\r\nHost: a\r\n\r\n' },
  { rule: 'a space behind the version', send: 'GET / HTTP/1.1 \r\nHost: a\r\n\r\n' },
  { rule: 'a TLS handshake', send: '\x16\x03\x01\x02\0\x01\0\r\n\r\n' },
  {
    rule: 'odd characters in a target',
    send: 'GET /"<>^`{|}%zz%00?\\ HTTP/1.1\r\nHost: a\r\n\r\n',
    sent: 'GET /"<>^`{|}%zz%00?\\ HTTP/1.1\r\nHost: a\r\n\r\n',
  },
  {
    rule: 'two slashes at the start of a path',
    send: 'GET //b/x HTTP/1.1\r\nHost: a\r\n\r\n',
    sent: 'GET //b/x HTTP/1.1\r\nHost: a\r\n\r\n',
  },
  { rule: 'an empty line before the request line', send: `\r\n${GET}\r\n`, sent: `${GET}\r\n` },
  { rule: 'two spaces before the target', send: 'GET  / HTTP/1.1\r\nHost: a\r\n\r\n', sent: `${GET}\r\n` },
  {
    rule: 'bytes behind a request with Connection: close',
    send: `${GET}Connection: close\r\n\r\n`,
    sent: `${GET}\r\n`,
    ends: true,
  },
  {
    rule: 'bytes behind a request in HTTP/1.0',
    send: 'GET / HTTP/1.0\r\nHost: a\r\n\r\n',
    sent: `${GET}\r\n`,
    ends: true,
  },
  {
    rule: 'a request line of RTSP',
    send: 'DESCRIBE / RTSP/1.0\r\nHost: a\r\n\r\n',
    sent: 'DESCRIBE / HTTP/1.1\r\nHost: a\r\n\r\n',
    ends: true,
  },
]

const kept = 'Cookie: c=1\r\nAuthorization: x\r\nContent-Type: y\r\nCache-Control: z\r\nOrigin: o\r\n'
const bytes = 'X-B: 1\r\nx-a: 2\r\nX-b: caf\xe9 \x80\xff\r\nCookie: a=1\r\nCookie: b=2\r\n'
const none = `${GET}\r\n`

const FORWARDING = [
  ...['For', 'Host', 'Port', 'Proto', 'Prefix', 'Ssl', 'Scheme', 'Server', 'User', 'Client-Cert', 'By', 'Anything'].map(
    (name) => `X-Forwarded-${name}`,
  ),
  ...['X-Forwarded', 'X-Real-IP', 'x-real-ip', 'Forwarded', 'Proxy', 'X-Original-URL', 'x-rewrite-url'],
]

const hygiene: Case[] = [
  {
    rule: 'hop-by-hop headers',
    send: `${GET}Keep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\nProxy-Authentication-Info: x\r\nTE: gzip\r\nUpgrade: foo\r\nHTTP2-Settings: x\r\n\r\n`,
    sent: none,
  },
  {
    rule: 'headers that Connection nominates',
    send: `${GET}Connection: keep-alive, X-One\r\nX-ONE: 1\r\nX-Two: 2\r\nX-One: 3\r\nconnection: ,x-two,,\r\n\r\n`,
    sent: none,
  },
  {
    rule: 'what Connection cannot nominate away',
    send: `${GET}Connection: Host, Content-Length, Cookie, Authorization, Content-Type, Cache-Control, Origin\r\n${kept}\r\n`,
    sent: `${GET}${kept}\r\n`,
  },
  {
    rule: 'Content-Length that Connection nominates',
    send: `${POST}Connection: keep-alive, Content-Length\r\nContent-Length: 2\r\n\r\nab`,
    sent: `${POST}Content-Length: 2\r\n\r\nab`,
  },
  {
    rule: 'headers that CGI reads as X-Forwarded-*',
    send: `${GET}X_Forwarded_For: 1\r\nx-forwarded_proto: https\r\nX.Forwarded.Host: b\r\nX_FORWARDED_PORT: 1\r\n\r\n`,
    sent: none,
  },
  {
    rule: 'headers that only trusted proxies may send',
    send: `${GET}${FORWARDING.map((name) => `${name}: x\r\n`).join('')}\r\n`,
    sent: none,
  },
  {
    rule: 'headers that CGI reads as those that only trusted proxies may send',
    send: `${GET}${FORWARDING.map((name) => `${name.replaceAll('-', '_').toUpperCase()}: x\r\n`).join('')}X.Real.IP: x\r\n\r\n`,
    sent: none,
  },
  {
    rule: 'names that only begin like those that only trusted proxies may send',
    send: `${GET}X-Forwardedx: 1\r\nX-Forward: 1\r\nX-Real-IPs: 1\r\nX-Original-URLs: 1\r\nX-Rewrite: 1\r\nForwarder: 1\r\nProxy-X: 1\r\n\r\n`,
    sent: `${GET}X-Forwardedx: 1\r\nX-Forward: 1\r\nX-Real-IPs: 1\r\nX-Original-URLs: 1\r\nX-Rewrite: 1\r\nForwarder: 1\r\nProxy-X: 1\r\n\r\n`,
  },
  {
    rule: 'a long Connection list',
    send: `${GET}Connection: keep-alive, X-One${', x'.repeat(1300)}\r\nX-One: 1\r\n\r\n`,
    sent: none,
  },
  {
    rule: 'a Connection list of more than 4096 bytes',
    send: `${GET}Connection: keep-alive${', x'.repeat(700)}\r\nConnection: ${'x, '.repeat(700)}x\r\n\r\n`,
  },
  { rule: 'duplicates, order, case and bytes of headers', send: `${GET}${bytes}\r\n`, sent: `${GET}${bytes}\r\n` },
  {
    rule: 'TE: trailers',
    send: `${GET}TE: gzip, trailers\r\n\r\n`,
    sent: `${GET}TE: trailers\r\nConnection: TE\r\n\r\n`,
  },
]

const forwards: Case[] = [
  {
    rule: 'OPTIONS with Max-Forwards',
    send: 'OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 5\r\n\r\n',
    sent: 'OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 4\r\n\r\n',
  },
  {
    rule: 'Max-Forwards of other methods',
    send: `${GET}Max-Forwards: 0\r\n\r\n`,
    sent: `${GET}Max-Forwards: 0\r\n\r\n`,
  },
  {
    rule: 'Max-Forwards that Connection nominates',
    send: 'OPTIONS / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Max-Forwards\r\nMax-Forwards: 5\r\n\r\n',
    sent: 'OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 4\r\n\r\n',
  },
  { rule: 'a malformed Max-Forwards', send: 'OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: -1\r\n\r\n' },
  { rule: 'two Max-Forwards', send: 'OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 1\r\nMax-Forwards: 1\r\n\r\n' },
  { rule: 'TRACE with a body', send: 'TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab' },
]

const areas: Record<string, Case[]> = {
  'Content-Length': contentLength,
  'Transfer-Encoding': transferEncoding,
  'chunks and trailers': chunks,
  'header lines': fields,
  Host: hosts,
  'request line': targets,
  'Max-Forwards': forwards,
  hygiene,
}

/**
 * What node sees to before us in an application's server: it ends the connection, without regard to answers that are still to come.
 * On a listener of our own node's complaint comes to us.
 */
const NODES = new Set([
  'CONNECT',
  'bytes behind a request with Connection: close',
  'bytes behind a request in HTTP/1.0',
  'a request line of RTSP',
])

for (const { name, run, isOurs } of FRONTS) {
  describe(name, () => {
    describe('requests', () => {
      let on: Stage
      before(async () => {
        on = await stage({}, undefined, run)
      })
      after(() => on[Symbol.asyncDispose]())

      for (const [area, cases] of Object.entries(areas)) {
        describe(area, () => {
          for (const { rule, send, sent, ends, status, late } of cases) {
            test(rule, async () => {
              if (!isOurs && NODES.has(rule)) await endsUnserved(on, send)
              else if (late) await breaksOff(on, send, status)
              else if (sent === undefined) await refuses(on, send, status)
              else if (ends) await passesAndEnds(on, send, sent)
              else await passes(on, send, sent)
            })
          }
        })
      }

      for (const { rule, method, status, left = '' } of [
        { rule: 'OPTIONS with Max-Forwards: 0', method: 'OPTIONS', status: 200, left: 'Max-Forwards: 0\r\n' },
        { rule: 'TRACE with Max-Forwards: 0', method: 'TRACE', status: 405, left: 'Max-Forwards: 0\r\n' },
        { rule: 'TRACE', method: 'TRACE', status: 405 },
      ]) {
        test(rule, async () => {
          const client = rawClient(on.front.port)
          client.write(`${method} / HTTP/1.1\r\nHost: a\r\nCookie: c=1\r\n${left}\r\n${NEXT}`)
          await client.until('GET /next')
          assert.deepEqual(statuses(client.text), [status, 200])
          assert.equal(/\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n/.test(client.text), status === 405)
          assert.doesNotMatch(client.text, /c=1/)
          assert.deepEqual(on.arrived().map(wire), [NEXT])
          assert.equal(on.attempts(), 1)
          client.socket.destroy()
        })
      }
    })

    test('an expectation other than 100-continue', async () => {
      await using on = await stage({}, undefined, run)
      const client = rawClient(on.front.port)
      client.write(`${POST}Expect: x\r\nContent-Length: 2\r\n\r\nab${NEXT}`)
      await client.until('GET /next')
      assert.deepEqual(statuses(client.text), [417, 200])
      assert.deepEqual(on.arrived().map(wire), [NEXT])
      client.socket.destroy()
    })

    test('what we say of the client cannot be nominated away or said by the client', async () => {
      await using on = await stage({ xfwd: true, via: 'me' }, undefined, run)
      const names = ['X-Forwarded-For', 'X-Forwarded-Proto', 'X-Forwarded-Host', 'X-Forwarded-Port']
      const lines = names.flatMap((name) => [`${name}: evil`, `${name.replaceAll('-', '_')}: evil`, `${name}: evil`])
      const client = rawClient(on.front.port)
      client.write(
        `GET / HTTP/1.1\r\nHost: a\r\nConnection: ${[...names, 'Via'].join()}\r\n${lines.join('\r\n')}\r\n\r\n`,
      )
      await client.until('GET /')
      assert.equal(
        wire(on.arrived()[0]),
        'GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 me\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n' +
          `X-Forwarded-Host: a\r\nX-Forwarded-Port: ${on.front.port}\r\n\r\n`,
      )
      client.socket.destroy()
    })

    describe('pipelines', () => {
      for (const { rule, bad, status, isNodes } of [
        {
          rule: 'what cannot be parsed waits for the answers before it',
          bad: 'garbage\r\n\r\n',
          status: 400,
          isNodes: true,
        },
        {
          rule: 'what is refused waits for the answers before it',
          bad: 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
          status: 400,
        },
        {
          rule: 'a body that breaks off waits for the answers before it',
          bad: `${CHUNKED}zz\r\n`,
          status: 400,
          isNodes: true,
        },
      ]) {
        test(rule, async () => {
          const held = gate()
          await using on = await stage({}, answerAfter(held.promise, { body: 'first' }), run)
          const client = rawClient(on.front.port)
          client.write(`GET /slow HTTP/1.1\r\nHost: a\r\n\r\n${bad}${NEXT}`)
          if (isNodes && !isOurs) {
            // node does not wait: who has sent garbage may lose the answers before it.
            await client.ended
            assert.deepEqual(statuses(client.text), [400])
            assert.ok(on.arrived().every(({ path }) => path !== '/next'))
            return held.open()
          }
          await on.backend.nextRequest()
          await rounds()
          assert.equal(client.text, '')
          held.open()
          await client.ended
          assert.deepEqual(statuses(client.text), [200, status])
          assert.match(client.text, /\r\n\r\nfirstHTTP\/1\.1 400 /)
          assert.deepEqual(
            on
              .arrived()
              .filter((request) => request.isComplete)
              .map(({ path }) => path),
            ['/slow'],
          )
        })
      }

      for (const { rule, end } of [
        { rule: 'a client that ends its side with a request cut short', end: `${POST}Content-Length: 5\r\n\r\nab` },
        { rule: 'a client that ends its side with a chunked request cut short', end: `${CHUNKED}2\r\nab\r\n` },
      ]) {
        test(rule, async () => {
          await using on = await stage({}, undefined, run)
          const client = rawClient(on.front.port)
          client.socket.allowHalfOpen = true
          client.write(end)
          await on.backend.nextRequestHead()
          client.socket.end()
          await client.ended
          await on.backend.untilOpenConnections(0)
          assert.deepEqual(
            on.arrived().map(({ isComplete }) => isComplete),
            [false],
          )
          assert.doesNotMatch(client.text, / 200 /)
        })
      }

      test('a request behind an answer that ends the connection', async () => {
        await using on = await stage({ limits: { maxBodyBytes: 1 } }, undefined, run)
        const client = rawClient(on.front.port)
        client.write(`${POST}Content-Length: 2\r\n\r\nab${NEXT}`)
        await client.ended
        assert.deepEqual(statuses(client.text), [413])
        assert.equal(on.attempts(), 0)
      })

      test('an upgrade behind an answer that ends the connection', async () => {
        await using on = await stage({}, undefined, run)
        const client = rawClient(on.front.port)
        client.write(
          'GET / HTTP/1.1\r\nHost: b\r\nHost: c\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n',
        )
        await client.ended
        assert.deepEqual(statuses(client.text), [400])
        assert.equal(on.attempts(), 0)
      })
    })
  })
}

test('an answer that an application gives to what is refused ends the connection', async () => {
  await using on = await stage({}, undefined, (options) =>
    runInServer(options, (proxy) =>
      http.createServer((req, res) =>
        proxy.web(req, res, { onError: (error) => void res.writeHead(error.status).end('ours') }),
      ),
    ),
  )
  const client = await refuses(on, 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n')
  assert.match(client.text, /ours/)
})
