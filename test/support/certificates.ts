/**
 * A self-signed certificate of nobody's, for `localhost`, `backend.test` and 127.0.0.1, and its key. Valid for a century. Made with:
 * `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj /CN=heddle-test
 * -addext subjectAltName=DNS:localhost,DNS:backend.test,IP:127.0.0.1 -addext basicConstraints=critical,CA:TRUE`
 */
export const certificate = `-----BEGIN CERTIFICATE-----
MIIBrjCCAVOgAwIBAgIUMDnR42Dlq1TLadw95/tc+mHjzo8wCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLaGVkZGxlLXRlc3QwIBcNMjYxMTIzMDUwODA1WhgPMjEyNjEw
MzAwNTA4MDVaMBYxFDASBgNVBAMMC2hlZGRsZS10ZXN0MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAExj7ejBqKALT5+vgv9bg3KEEbME0Oj+shyOceYZYxicrS8MeU
JWxLSQi+zv+VF9PKLPLAVIsV+GQuJv+YqkUNh6N9MHswHQYDVR0OBBYEFIeSJGoT
eEA1VvTH55Ko5/zKlRt1MB8GA1UdIwQYMBaAFIeSJGoTeEA1VvTH55Ko5/zKlRt1
MCgGA1UdEQQhMB+CCWxvY2FsaG9zdIIMYmFja2VuZC50ZXN0hwR/AAABMA8GA1Ud
EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAJ94FQ1KwvGiqv0LhGX4wMNF
INwM+rDGIdnehI06ZV/tAiEAuuMCkdsbZW+xIz9FSNGWXNKYMOP06aNi1BJWSc2h
t9o=
-----END CERTIFICATE-----
`

export const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg6LCXyxj1idtPUYC3
X1s3wv0qz4hTJdlNwSN8O/XxptehRANCAATGPt6MGooAtPn6+C/1uDcoQRswTQ6P
6yHI5x5hljGJytLwx5QlbEtJCL7O/5UX08os8sBUixX4ZC4m/5iqRQ2H
-----END PRIVATE KEY-----
`
