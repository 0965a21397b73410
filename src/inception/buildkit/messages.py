"""BuildKit's messages, as far as a build with a Dockerfile uses them: a number, a type and a name of ours for each field.

Source: the interface definitions of BuildKit v0.25 (control, gateway, filesync, auth, secrets, ssh, upload, worker, apicaps,
ops, errdefs) and fsutil (wire, stat).
"""

from __future__ import annotations

from inception.buildkit.protobuf import Message

TIMESTAMP = Message(
    "Timestamp",
    """
    1 int seconds
    2 int nanos
    """,
)
ANY = Message(
    "Any",
    """
    1 string type_url
    2 bytes value
    """,
)
STATUS = Message(
    "Status",
    """
    1 int code
    2 string message
    3 repeated Any details
    """,
)
EMPTY = Message("Empty")
# Calls that name one thing, and answers that are its bytes.
REF_REQUEST = Message("RefRequest", "1 string ref")
ID_REQUEST = Message("IdRequest", "1 string id")
BYTES = Message("Bytes", "1 bytes data")

# --- what a solve is made of ---

OP = Message(
    "Op",
    """
    1 repeated Input inputs
    3 SourceOp source
    """,
)
INPUT = Message(
    "Input",
    """
    1 string digest
    2 int index
    """,
)
SOURCE_OP = Message(
    "SourceOp",
    """
    1 string identifier
    2 map string attrs
    """,
)
DEFINITION = Message(
    "Definition",
    """
    1 repeated bytes def
    2 map Empty metadata
    """,
)
# An exporter, or a cache.
TYPED = Message(
    "Typed",
    """
    1 string type
    2 map string attrs
    """,
)
CACHE_OPTIONS = Message(
    "CacheOptions",
    """
    1 string export_ref
    2 repeated string import_refs
    4 repeated Typed exports
    5 repeated Typed imports
    """,
)
SOLVE_REQUEST = Message(
    "SolveRequest",
    """
    1 string ref
    2 Definition definition
    3 string exporter
    4 map string exporter_attrs
    5 string session
    6 string frontend
    7 map string frontend_attrs
    8 CacheOptions cache
    9 repeated string entitlements
    10 map Definition frontend_inputs
    11 bool internal
    12 SourcePolicy source_policy
    13 repeated Typed exporters
    """,
)
SOURCE_POLICY = Message("SourcePolicy", "2 repeated Empty rules")
SOLVE_RESPONSE = Message("SolveResponse", "1 map string exporter_response")

# --- progress ---

STATUS_RESPONSE = Message(
    "StatusResponse",
    """
    1 repeated Vertex vertexes
    2 repeated VertexStatus statuses
    3 repeated VertexLog logs
    4 repeated VertexWarning warnings
    """,
)
VERTEX = Message(
    "Vertex",
    """
    1 string digest
    2 repeated string inputs
    3 string name
    4 bool cached
    5 Timestamp started
    6 Timestamp completed
    7 string error
    """,
)
VERTEX_STATUS = Message(
    "VertexStatus",
    """
    1 string id
    2 string vertex
    3 string name
    4 int current
    5 int total
    6 Timestamp timestamp
    7 Timestamp started
    8 Timestamp completed
    """,
)
VERTEX_LOG = Message(
    "VertexLog",
    """
    1 string vertex
    2 Timestamp timestamp
    3 int stream
    4 bytes msg
    """,
)
_WARNING = """
    2 int level
    3 bytes short
    4 repeated bytes detail
    5 string url
    6 SourceInfo info
    7 repeated Range ranges
    """
VERTEX_WARNING = Message("VertexWarning", f"1 string vertex{_WARNING}")
WARN_REQUEST = Message("WarnRequest", f"1 string digest{_WARNING}")
POSITION = Message(
    "Position",
    """
    1 int line
    2 int character
    """,
)
RANGE = Message(
    "Range",
    """
    1 Position start
    2 Position end
    """,
)
SOURCE_INFO = Message(
    "SourceInfo",
    """
    1 string filename
    2 bytes data
    4 string language
    """,
)
SOURCE = Message(
    "Source",
    """
    1 SourceInfo info
    2 repeated Range ranges
    """,
)
SUBREQUEST = Message("Subrequest", "1 string name")

# --- what the builder is ---

VERSION = Message(
    "Version",
    """
    1 string package
    2 string version
    3 string revision
    """,
)
PLATFORM = Message(
    "Platform",
    """
    1 string architecture
    2 string os
    3 string variant
    """,
)
WORKER = Message(
    "Worker",
    """
    1 string id
    2 map string labels
    3 repeated Platform platforms
    5 Version version
    """,
)
INFO_RESPONSE = Message("InfoResponse", "1 Version version")
LIST_WORKERS_RESPONSE = Message("ListWorkersResponse", "1 repeated Worker record")
FILTER_REQUEST = Message(
    "FilterRequest",
    """
    1 repeated string filter
    """,
)
USAGE = Message(
    "Usage",
    """
    1 string id
    2 bool mutable
    3 bool in_use
    4 int size
    6 Timestamp created_at
    7 Timestamp last_used_at
    8 int usage_count
    9 string description
    10 string record_type
    11 bool shared
    """,
)
DISK_USAGE_RESPONSE = Message("DiskUsageResponse", "1 repeated Usage record")
PRUNE_REQUEST = Message(
    "PruneRequest",
    """
    1 repeated string filter
    2 bool all
    3 int keep_duration
    4 int reserved_space
    5 int max_used_space
    6 int min_free_space
    """,
)

# --- the gateway ---

CAPABILITY = Message(
    "Capability",
    """
    1 string id
    2 bool enabled
    """,
)
PONG = Message(
    "Pong",
    """
    1 repeated Capability frontend_caps
    2 repeated Capability llb_caps
    3 repeated Worker workers
    """,
)
REF = Message(
    "Ref",
    """
    1 string id
    2 Definition definition
    """,
)
REF_MAP = Message("RefMap", "1 map Ref refs")
RESULT = Message(
    "Result",
    """
    1 string old_ref
    3 Ref ref
    4 RefMap refs
    10 map bytes metadata
    """,
)
GATEWAY_SOLVE_REQUEST = Message(
    "GatewaySolveRequest",
    """
    1 Definition definition
    2 string frontend
    3 map string frontend_attrs
    12 repeated Typed cache_imports
    13 map Definition frontend_inputs
    14 bool evaluate
    15 repeated SourcePolicy source_policies
    """,
)
GATEWAY_SOLVE_RESPONSE = Message(
    "GatewaySolveResponse",
    """
    1 string ref
    3 Result result
    """,
)
RETURN_REQUEST = Message(
    "ReturnRequest",
    """
    1 Result result
    2 Status error
    """,
)
INPUTS_RESPONSE = Message("InputsResponse", "1 map Definition definitions")

# --- what a client serves over its session ---

STAT = Message(
    "Stat",
    """
    1 bytes path
    2 int mode
    3 int uid
    4 int gid
    5 int size
    6 int mtime_ns
    7 bytes linkname
    8 int devmajor
    9 int devminor
    10 map bytes xattrs
    """,
)
PACKET = Message(
    "Packet",
    """
    1 int type
    2 Stat stat
    3 int id
    4 bytes data
    """,
)
CREDENTIALS_REQUEST = Message("CredentialsRequest", "1 string host")
CREDENTIALS_RESPONSE = Message(
    "CredentialsResponse",
    """
    1 string username
    2 string secret
    """,
)
HEALTH_RESPONSE = Message("HealthResponse", "1 int status")
