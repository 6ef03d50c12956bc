"""The Content-Security-Policy of the sample chat."""

import secrets

from django.utils.deprecation import MiddlewareMixin

POLICY = (
    "default-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)


class ContentSecurityPolicyMiddleware(MiddlewareMixin):
    """Allow only what this site serves: no inline script, no inline style.

    Turbo adds a style sheet for its progress bar, and takes the nonce for it from
    <meta name="csp-nonce">. 'self' includes the WebSocket of the same host.
    """

    def process_request(self, request):
        request.csp_nonce = secrets.token_urlsafe(16)

    def process_response(self, request, response):
        policy = POLICY.format(nonce=request.csp_nonce)
        response.headers.setdefault("Content-Security-Policy", policy)
        return response
