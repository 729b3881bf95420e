//! Where this system keeps the certificate authorities that it trusts.

/// The file, or the directory, as OpenSSL's tools and Debian, Alpine, Red Hat and others name it; the
/// environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR` go first.
pub(super) fn found() -> Option<String> {
    let openssl_probe::ProbeResult { cert_file, cert_dir } = openssl_probe::probe();
    let found = cert_file.filter(|path| path.exists());
    found.or_else(|| cert_dir.into_iter().next())?.into_os_string().into_string().ok()
}
