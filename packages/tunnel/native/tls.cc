/* TLS contexts for the mesh (ambient contract 6.1), on the OpenSSL that Node.js contains and
 * exports. */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#include <algorithm>

#include "engine.h"
#include "tls.h"

namespace kmesh::tunnel
{

static constexpr const char *kSuites13 = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256";
static constexpr const char *kSuites12 =
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256";
static const unsigned char kAlpn[] = {2, 'h', '2'};

/* Certificates are sent uncompressed: brotli at its best level costs more than the handshake's key
 * exchange, and the mesh need not inflate data of a stranger. Headers older than
 * OpenSSL 3.2 do not name the options. */
static constexpr uint64_t kPlainCertificates = uint64_t{1} << 32 | uint64_t{1} << 33;

std::string tlsErrorText()
{
	unsigned long code = ERR_get_error();
	ERR_clear_error();
	if (code == 0)
		return "";
	char text[256];
	ERR_error_string_n(code, text, sizeof text);
	return text;
}

std::vector<std::string> uriNames(X509 *certificate)
{
	std::vector<std::string> found;
	auto *names = static_cast<GENERAL_NAMES *>(
	    X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
	if (names == nullptr)
		return found;
	for (int index = 0; index < sk_GENERAL_NAME_num(names); index++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, index);
		if (name->type != GEN_URI)
			continue;
		const ASN1_STRING *value = name->d.uniformResourceIdentifier;
		std::string text(reinterpret_cast<const char *>(ASN1_STRING_get0_data(value)),
				 static_cast<size_t>(ASN1_STRING_length(value)));
		/* With a NUL inside, two readers could see two names. */
		if (text.find('\0') == std::string::npos)
			found.push_back(std::move(text));
	}
	GENERAL_NAMES_free(names);
	return found;
}

static int64_t expiryOf(const X509 *certificate)
{
	tm fields{};
	if (certificate == nullptr ||
	    ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &fields) != 1)
		return 0;
	return timegm(&fields);
}

int64_t certificatesValidUntil(SSL *ssl)
{
	int64_t until = expiryOf(SSL_get_certificate(ssl));
	STACK_OF(X509) *own = nullptr;
	SSL_get0_chain_certs(ssl, &own);
	for (STACK_OF(X509) * chain : {own, SSL_get0_verified_chain(ssl)}) {
		for (int index = 0; chain != nullptr && index < sk_X509_num(chain); index++)
			until = std::min(until, expiryOf(sk_X509_value(chain, index)));
	}
	return until;
}

bool isIdentityOf(std::string_view uri, std::string_view domain)
{
	static constexpr std::string_view kScheme = "spiffe://";
	if (uri.substr(0, kScheme.size()) != kScheme)
		return false;
	std::vector<std::string_view> parts;
	for (std::string_view rest = uri.substr(kScheme.size());;) {
		size_t slash = rest.find('/');
		parts.push_back(rest.substr(0, slash));
		if (slash == std::string_view::npos || parts.size() > 5)
			break;
		rest.remove_prefix(slash + 1);
	}
	return parts.size() == 5 && parts[0] == domain && parts[1] == "ns" && parts[3] == "sa";
}

static int verifyPeer(int ok, X509_STORE_CTX *store)
{
	auto *ssl = static_cast<SSL *>(
	    X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
	auto *session = static_cast<Session *>(SSL_get_ex_data(ssl, 0));
	int error = X509_STORE_CTX_get_error(store);
	if (!ok) {
		/* Unknown revocation status is allowed and an expired list still counts (ambient
		 * contract 5, CRL). */
		switch (error) {
		case X509_V_ERR_UNABLE_TO_GET_CRL:
		case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
		case X509_V_ERR_CRL_HAS_EXPIRED:
		case X509_V_ERR_CRL_NOT_YET_VALID:
		case X509_V_ERR_CRL_SIGNATURE_FAILURE:
			X509_STORE_CTX_set_error(store, X509_V_OK);
			ok = 1;
			break;
		default:
			session->verifyError = error;
			return 0;
		}
	}
	if (X509_STORE_CTX_get_error_depth(store) == 0 && session->verifyError == 0) {
		X509 *leaf = X509_STORE_CTX_get_current_cert(store);
		if (leaf != nullptr && !session->acceptsPeer(uriNames(leaf))) {
			session->verifyError = X509_V_ERR_APPLICATION_VERIFICATION;
			X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
			return 0;
		}
	}
	return ok;
}

static int selectAlpn(SSL *, const unsigned char **out, unsigned char *outLength,
		      const unsigned char *in, unsigned int inLength, void *)
{
	for (unsigned int at = 0; at + 1 <= inLength; at += 1u + in[at]) {
		if (in[at] == 2 && at + 3 <= inLength && memcmp(in + at + 1, "h2", 2) == 0) {
			*out = in + at + 1;
			*outLength = 2;
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static BIO *memory(const std::string &text)
{
	return BIO_new_mem_buf(text.data(), static_cast<int>(text.size()));
}

static bool loadChain(SSL_CTX *context, const std::string &pem)
{
	BIO *bio = memory(pem);
	X509 *leaf = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
	bool good = leaf != nullptr && SSL_CTX_use_certificate(context, leaf) == 1;
	if (leaf != nullptr)
		X509_free(leaf);
	while (good) {
		X509 *next = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
		if (next == nullptr) {
			ERR_clear_error();
			break;
		}
		good = SSL_CTX_add0_chain_cert(context, next) == 1;
		if (!good)
			X509_free(next);
	}
	BIO_free(bio);
	return good;
}

static bool loadRoots(SSL_CTX *context, const std::string &pem)
{
	BIO *bio = memory(pem);
	X509_STORE *store = SSL_CTX_get_cert_store(context);
	int count = 0;
	while (X509 *root = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr)) {
		X509_STORE_add_cert(store, root);
		X509_free(root);
		count++;
	}
	ERR_clear_error();
	BIO_free(bio);
	return count > 0;
}

static void loadRevocations(SSL_CTX *context, const std::vector<std::string> &lists)
{
	X509_STORE *store = SSL_CTX_get_cert_store(context);
	bool any = false;
	for (const std::string &list : lists) {
		BIO *bio = memory(list);
		if (list.compare(0, 5, "-----") == 0) {
			while (X509_CRL *crl =
				   PEM_read_bio_X509_CRL(bio, nullptr, nullptr, nullptr)) {
				any |= X509_STORE_add_crl(store, crl) == 1;
				X509_CRL_free(crl);
			}
		} else if (X509_CRL *crl = d2i_X509_CRL_bio(bio, nullptr)) {
			any |= X509_STORE_add_crl(store, crl) == 1;
			X509_CRL_free(crl);
		}
		ERR_clear_error();
		BIO_free(bio);
	}
	if (any)
		X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
}

SSL_CTX *createTlsContext(const TlsOptions &options, std::string *error)
{
	SSL_CTX *context = SSL_CTX_new(options.server ? TLS_server_method() : TLS_client_method());
	if (context == nullptr) {
		*error = tlsErrorText();
		return nullptr;
	}
	SSL_CTX_set_min_proto_version(context, options.tls12 ? TLS1_2_VERSION : TLS1_3_VERSION);
	SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION);
	SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
					 SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
					 kPlainCertificates);
	SSL_CTX_set_num_tickets(context, 0);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	bool good = SSL_CTX_set_ciphersuites(context, kSuites13) == 1;
	if (options.tls12)
		good = good && SSL_CTX_set_cipher_list(context, kSuites12) == 1;
	if (options.postQuantumOnly)
		good = good && SSL_CTX_set1_groups_list(context, "X25519MLKEM768") == 1;
	if (options.server) {
		SSL_CTX_set_alpn_select_cb(context, selectAlpn, nullptr);
	} else {
		good = good && SSL_CTX_set_alpn_protos(context, kAlpn, sizeof kAlpn) == 0;
	}
	BIO *bio = memory(options.keyPem);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
	BIO_free(bio);
	good = good && loadChain(context, options.certificatePem) && key != nullptr &&
	       SSL_CTX_use_PrivateKey(context, key) == 1 &&
	       SSL_CTX_check_private_key(context) == 1 && loadRoots(context, options.rootsPem);
	if (key != nullptr)
		EVP_PKEY_free(key);
	if (!good) {
		*error = tlsErrorText();
		if (error->empty())
			*error = "certificate, key or roots are not usable";
		SSL_CTX_free(context);
		return nullptr;
	}
	/* Every root of the bundle is a trust anchor, even an intermediate. */
	X509_STORE_set_flags(SSL_CTX_get_cert_store(context), X509_V_FLAG_PARTIAL_CHAIN);
	loadRevocations(context, options.crls);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verifyPeer);
	ERR_clear_error();
	return context;
}

static int tolerateUnknownRevocation(int ok, X509_STORE_CTX *store)
{
	return ok || X509_STORE_CTX_get_error(store) != X509_V_ERR_CERT_REVOKED;
}

/* Returns whether a list revokes a certificate of a chain verified before: leaf first, anchor
 * last. */
bool chainRevoked(const std::vector<std::string> &chain, const std::vector<std::string> &lists)
{
	std::vector<X509 *> certificates;
	for (const std::string &der : chain) {
		auto *bytes = reinterpret_cast<const unsigned char *>(der.data());
		X509 *certificate = d2i_X509(nullptr, &bytes, static_cast<long>(der.size()));
		if (certificate != nullptr)
			certificates.push_back(certificate);
	}
	bool revoked = false;
	SSL_CTX *holder = SSL_CTX_new(TLS_method());
	if (!certificates.empty() && holder != nullptr) {
		X509_STORE *store = SSL_CTX_get_cert_store(holder);
		X509_STORE_add_cert(store, certificates.back());
		loadRevocations(holder, lists);
		X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_NO_CHECK_TIME);
		STACK_OF(X509) *between = sk_X509_new_null();
		for (size_t index = 1; index < certificates.size(); index++)
			sk_X509_push(between, certificates[index]);
		X509_STORE_CTX *check = X509_STORE_CTX_new();
		X509_STORE_CTX_init(check, store, certificates.front(), between);
		X509_STORE_CTX_set_verify_cb(check, tolerateUnknownRevocation);
		revoked = X509_verify_cert(check) != 1 &&
			  X509_STORE_CTX_get_error(check) == X509_V_ERR_CERT_REVOKED;
		X509_STORE_CTX_free(check);
		sk_X509_free(between);
	}
	if (holder != nullptr)
		SSL_CTX_free(holder);
	for (X509 *certificate : certificates)
		X509_free(certificate);
	ERR_clear_error();
	return revoked;
}

static int bioWrite(BIO *bio, const char *bytes, int length)
{
	auto *session = static_cast<Session *>(BIO_get_data(bio));
	session->putOutput(reinterpret_cast<const uint8_t *>(bytes), static_cast<size_t>(length));
	return length;
}

static int bioRead(BIO *bio, char *into, int length)
{
	auto *session = static_cast<Session *>(BIO_get_data(bio));
	BIO_clear_retry_flags(bio);
	size_t got =
	    session->takeInput(reinterpret_cast<uint8_t *>(into), static_cast<size_t>(length));
	if (got > 0)
		return static_cast<int>(got);
	BIO_set_retry_read(bio);
	return -1;
}

static long bioControl(BIO *, int command, long, void *)
{
	return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static int bioCreate(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

BIO_METHOD *sessionBioMethod()
{
	static BIO_METHOD *method = [] {
		BIO_METHOD *made =
		    BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "kmesh session");
		BIO_meth_set_write(made, bioWrite);
		BIO_meth_set_read(made, bioRead);
		BIO_meth_set_ctrl(made, bioControl);
		BIO_meth_set_create(made, bioCreate);
		return made;
	}();
	return method;
}

} // namespace kmesh::tunnel
