/** Which certificates to order, and from whom. */
export interface AcmeOptions {
  /**
   * Host names. Each gets a certificate of its own, so that one that fails holds up no other. Without wildcards, which need the challenge
   * dns-01. At least one.
   */
  readonly names: readonly string[]
  /** You have read the terms of the authority (`https://letsencrypt.org/repository/`), and agree to them. It must be `true`. */
  readonly agreeToTerms: boolean
  /** Where the authority may write to about the account. Default: nowhere. */
  readonly email?: string | undefined
  /**
   * Where certificates and the key of the account are kept. It must outlast a restart: authorities limit how often they issue. It is made if it
   * is not there. Default `acme` in the working directory, or in the folder of the configuration file.
   */
  readonly folder?: string | undefined
  /** The authority: `letsencrypt`, `letsencrypt-staging` (for trials; nobody trusts its certificates), or the URL of a directory. Default `letsencrypt`. */
  readonly directory?: string | undefined
  /**
   * How the authority sees that a name is yours. `tls-alpn-01`: it connects to port 443, and the listener answers. `http-01`: it sends a
   * request to port 80, where the `responder` must be. Default `tls-alpn-01`.
   */
  readonly challenge?: 'tls-alpn-01' | 'http-01' | undefined
  /** Ties the account to one that you have with the authority (external account binding); for authorities that ask for it. */
  readonly eab?: { readonly keyId: string; readonly hmacKey: string } | undefined
  /** Authorities of the directory's own https certificate, for a private one: the path of a PEM file, or PEM. Default: those of node. */
  readonly ca?: string | undefined
}
