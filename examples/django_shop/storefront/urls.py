"""Which address is which view."""

from django.contrib import admin
from django.urls import include, path
from shop import views

urlpatterns = [
    path("", views.catalogue, name="catalogue"),
    path("products/<int:product>/", views.product, name="product"),
    path("basket/", views.basket, name="basket"),
    path("orders/", views.order, name="order"),
    path("orders/<int:number>/", views.receipt, name="receipt"),
    path("dashboard/", views.dashboard, name="dashboard"),
    path("media/<path:name>", views.picture, name="picture"),
    path("accounts/", include("django.contrib.auth.urls")),
    path("admin/", admin.site.urls),
]
