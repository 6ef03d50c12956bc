from turbo.components import BroadcastComponent, UserBroadcastComponent


class AlertComponent(BroadcastComponent):
    template_name = "app/components/alert.html"


class CartCountComponent(UserBroadcastComponent):
    template_name = "app/components/cart_count.html"

    def get_context(self):
        return {"count": 99}
