"""BuildKit's protocol, for both of its ends: the server (`api/buildkit`) and a client of another engine (`client/buildkit.py`).

http2.py     frames over a connection that was taken out of HTTP/1      grpc.py      calls over these, in both roles
protobuf.py  messages as bytes                                          messages.py  which there are
filesync.py  files from one machine to the other                        gomode.py    what a file is, as Go writes it
"""
