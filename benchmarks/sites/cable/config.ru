# Action Cable without the rest of Rails: the async adapter, one Puma process.
require "action_cable"

MESSAGE = ENV.fetch("BENCH_MESSAGE")

module ApplicationCable
  class Connection < ActionCable::Connection::Base; end
  class Channel < ActionCable::Channel::Base; end
end

class RoomChannel < ApplicationCable::Channel
  def subscribed
    stream_from "room"
  end
end

ActionCable.server.config.cable = { "adapter" => "async" }
ActionCable.server.config.connection_class = -> { ApplicationCable::Connection }
ActionCable.server.config.disable_request_forgery_protection = true
ActionCable.server.config.logger = Logger.new(IO::NULL)
ActionCable.server.config.worker_pool_size = 4

publish = lambda do |env|
  count = env["PATH_INFO"].split("/")[1].to_i
  count.times { ActionCable.server.broadcast("room", MESSAGE) }
  [200, { "Content-Type" => "text/plain" }, ["0"]]
end

map("/cable") { run ActionCable.server }
map("/publish") { run publish }
