/* TLS contexts and names. */
#pragma once

#include <openssl/ssl.h>
#include <stdint.h>

#include <string>
#include <string_view>
#include <vector>

namespace kmesh::tunnel
{

struct TlsOptions {
	std::string certificatePem, keyPem, rootsPem;
	std::vector<std::string> crls;
	bool server = false, tls12 = false, postQuantumOnly = false;
};
SSL_CTX *createTlsContext(const TlsOptions &options, std::string *error);
bool chainRevoked(const std::vector<std::string> &chain, const std::vector<std::string> &lists);
/* Returns when the first certificate expires of those that proved either identity, in seconds since
 * 1970. */
int64_t certificatesValidUntil(SSL *ssl);
std::vector<std::string> uriNames(X509 *certificate);
/* Returns whether `uri` is `spiffe://<domain>/ns/<namespace>/sa/<account>` with this domain;
 * namespace and account may be empty (ambient contract 6.1). */
bool isIdentityOf(std::string_view uri, std::string_view domain);
std::string tlsErrorText();
BIO_METHOD *sessionBioMethod();

} // namespace kmesh::tunnel
