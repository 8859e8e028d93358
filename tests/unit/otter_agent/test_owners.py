"""Which requests only a mesh's owner may make."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from otter_agent.server.app import _ROUTES
from otter_agent.server.owners import changes


@pytest.mark.parametrize(
    ("method", "path", "guarded"),
    [
        ("GET", "/v1/meshes/mine", False),
        ("DELETE", "/v1/meshes/mine", True),
        ("PATCH", "/v1/meshes/mine/budgets", True),
        ("PUT", "/v1/meshes/mine/lease", True),
        ("POST", "/v1/meshes/mine/check", False),
        ("POST", "/v1/meshes/mine/secrets/check", False),
        ("DELETE", "/v1/meshes/check", True),
        ("PUT", "/v1/meshes/check", True),
        ("POST", "/v1/meshes/check/check", False),
        ("PUT", "/v1/blobs/abc", False),
    ],
)
async def test_all_that_changes_a_mesh_is_guarded(method, path, guarded):
    app = web.Application()
    for part in _ROUTES:
        app.add_routes(part.ROUTES)
    request = make_mocked_request(method, path, app=app)
    request._match_info = await app.router.resolve(request)
    assert request.match_info.http_exception is None
    assert changes(request) is guarded
