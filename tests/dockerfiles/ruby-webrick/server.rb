require "webrick"

server = WEBrick::HTTPServer.new(Port: 4567)
server.mount_proc("/reverse/") { |request, response| response.body = request.path_info.delete("/").reverse }
trap("TERM") { server.shutdown }
server.start
