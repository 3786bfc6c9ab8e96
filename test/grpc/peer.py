"""A server and a client of gRPC's C core, for python.ts. The messages of the service are bytes, so nothing is generated.

peer.py server [AGE_MS]: listens, writes its port, then a line for each call that is cancelled. Stops gracefully when its input ends.
peer.py client PORT: calls through the port, and writes a line for each check that fails.
"""
import sys
import threading
from concurrent import futures

import grpc

UNLIMITED = [('grpc.max_receive_message_length', -1), ('grpc.max_send_message_length', -1)]


def say(line):
    sys.stdout.write(line + '\n')
    sys.stdout.flush()


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    what = metadata.get('do')
    if what == 'hang':
        over = threading.Event()

        def cancelled():
            say('cancelled unary')
            over.set()

        context.add_callback(cancelled)
        say('hanging unary')
        over.wait(20)
        return b''
    if what == 'fail':
        context.set_trailing_metadata((('why', 'asked'), ('why-bin', bytes([0, 1, 255]))))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, 'as asked: \u00fc 50%')
    echoed = tuple((name, value) for name, value in metadata.items() if name in ('x-text', 'x-data-bin'))
    context.send_initial_metadata((('where', 'head'),) + echoed)
    context.set_trailing_metadata((('where', 'trail'),) + echoed)
    return request


def down(_request, context):
    metadata = dict(context.invocation_metadata())
    message = b'd' * int(metadata.get('size', '1'))
    for _ in range(int(metadata.get('count', '0'))):
        yield message
    if metadata.get('do') == 'forever':
        over = threading.Event()

        def cancelled():
            say('cancelled down')
            over.set()

        context.add_callback(cancelled)
        over.wait(20)


def up(requests, _context):
    count = size = 0
    for message in requests:
        count += 1
        size += len(message)
    return b'%d %d' % (count, size)


def both(requests, _context):
    for message in requests:
        yield message


def serve(age_ms):
    options = list(UNLIMITED)
    if age_ms:
        options += [('grpc.max_connection_age_ms', int(age_ms)), ('grpc.max_connection_age_grace_ms', 5000)]
    server = grpc.server(futures.ThreadPoolExecutor(32), options=options)
    handlers = {
        'Unary': grpc.unary_unary_rpc_method_handler(unary),
        'Down': grpc.unary_stream_rpc_method_handler(down),
        'Up': grpc.stream_unary_rpc_method_handler(up),
        'Both': grpc.stream_stream_rpc_method_handler(both),
    }
    health = {'Check': grpc.unary_unary_rpc_method_handler(lambda _request, _context: bytes([8, 1]))}
    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler('test.Echo', handlers),
        grpc.method_handlers_generic_handler('grpc.health.v1.Health', health),
    ))
    say(str(server.add_insecure_port('127.0.0.1:0')))
    server.start()
    sys.stdin.read()
    server.stop(5).wait()


def check(name, is_right, seen=None):
    if not is_right:
        say('%s: %r' % (name, seen))


def error_of(call):
    try:
        return None, call()
    except grpc.RpcError as error:
        return error, None


def call(port):
    channel = grpc.insecure_channel('127.0.0.1:%s' % port, options=UNLIMITED)
    echo = channel.unary_unary('/test.Echo/Unary')
    streams = channel.unary_stream('/test.Echo/Down')
    upload = channel.stream_unary('/test.Echo/Up')
    talk = channel.stream_stream('/test.Echo/Both')

    answer, done = echo.with_call(b'hello', metadata=(('x-text', 'a b'), ('x-data-bin', bytes([0, 1, 255]))))
    check('unary', answer == b'hello', answer)
    head = dict(done.initial_metadata())
    trailers = dict(done.trailing_metadata())
    check('initial metadata', (head.get('where'), head.get('x-data-bin')) == ('head', bytes([0, 1, 255])), head)
    check('trailing metadata', (trailers.get('where'), trailers.get('x-text')) == ('trail', 'a b'), trailers)

    error, _ = error_of(lambda: echo(b'', metadata=(('do', 'fail'),)))
    check('failure', error is not None and error.code() == grpc.StatusCode.FAILED_PRECONDITION, error)
    check('details', error.details() == 'as asked: \u00fc 50%', error.details())
    check('metadata of the failure', dict(error.trailing_metadata()).get('why-bin') == bytes([0, 1, 255]), error)

    error, _ = error_of(lambda: echo(b'', metadata=(('do', 'hang'),), timeout=0.3))
    check('deadline', error is not None and error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error)

    error, _ = error_of(lambda: channel.unary_unary('/none.Service/Unary')(b''))
    check('no route', error is not None and error.code() == grpc.StatusCode.UNIMPLEMENTED, error)
    check('no route: details', 'ERR_PROXY_NO_ROUTE' in error.details(), error.details())

    error, _ = error_of(lambda: channel.unary_unary('/dead.Service/Unary')(b''))
    check('dead backend', error is not None and error.code() == grpc.StatusCode.UNAVAILABLE, error)
    check('dead backend: details', 'ERR_PROXY_CONNECT' in error.details(), error.details())

    sizes = [len(message) for message in streams(b'', metadata=(('count', '300'), ('size', '3000')))]
    check('server stream', sizes == [3000] * 300, len(sizes))
    check('client stream', upload(iter([b'u' * 10000] * 200)) == b'200 2000000')
    check('both ways', list(talk(iter([b'%d' % i for i in range(200)]))) == [b'%d' % i for i in range(200)])

    stream = streams(b'', metadata=(('count', '1'), ('do', 'forever')))
    next(stream)
    stream.cancel()
    check('cancelled stream', stream.code() == grpc.StatusCode.CANCELLED, stream.code())

    large = b'l' * (5 << 20)
    check('5 MiB', echo(large) == large)
    stalled = streams(b'', metadata=(('count', '200'), ('size', '100000')))
    next(stalled)
    check('beside a stalled stream', [echo(b'x') for _ in range(20)] == [b'x'] * 20)
    check('the stalled stream', sum(1 for _ in stalled) == 199)
    pending = [echo.future(b'%d' % i) for i in range(1000)]
    check('1000 at a time', [each.result() for each in pending] == [b'%d' % i for i in range(1000)])
    channel.close()
    say('done')


if sys.argv[1] == 'server':
    serve(sys.argv[2] if len(sys.argv) > 2 else None)
else:
    call(sys.argv[2])
